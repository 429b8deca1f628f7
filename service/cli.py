"""The command line, `dit`: one sub-command per file of `service.commands`.

A command's own module, and with it torch, is imported only when that command runs.
An error that people can act on is printed as one sentence, with status 2; no text in it moves a terminal.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from dit_serve.models.errors import found_no_memory, printable
from dit_serve.service.commands.caches import settle_caches
from dit_serve.service.errors import LocalError
from dit_serve.service.http.signals import ended_by_signals
from dit_serve.service.version import version
from dit_serve.threads import bound_waiting

COMMANDS = {
    "serve": "Answer HTTP requests.",
    "generate": "Make images without a server.",
    "health": "Ask the service that runs here whether it is ready.",
    "doctor": "Say what is missing or wrong here, and how to mend it.",
    "info": "Say what is in a checkpoint.",
    "convert": "Turn a pickled checkpoint into safetensors.",
    "repro": "Make an image again from its receipt, and compare.",
    "evaluate": "Measure images against a reference: FID and its kin.",
    "train": "Train a DiT on labelled images.",
    "train-autoencoder": "Train an autoencoder on images.",
}
WITHOUT_NOTE = frozenset({"doctor", "health"})  # of where caches are: it tells so itself, or needs none
INTERRUPTED, PIPE_CLOSED = 130, 141  # as a shell tells of SIGINT and SIGPIPE


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, with the flag that may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Ends the process with status 2."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        unknown = re.findall(r"(--[^\s=]+)", message) if message.startswith("unrecognized") else []
        near = [match for text in unknown for match in difflib.get_close_matches(text, flags, n=1)]
        if near:
            message += f"; did you mean {', '.join(near)}?"
        elif "expected one argument" in message:
            message += " (one that begins with - is given as --flag=-value)"
        end = "" if message.endswith("?") else f"; see {self.prog} --help"
        self.exit(2, f"{self.prog}: {printable(message)}{end}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # what a terminal's encoding lacks is no reason to fail
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = f"dit {given[0]}" if given and given[0] in COMMANDS else "dit"
    try:
        try:
            # Before all else: an import takes a second, and a signal may come in it.
            with ended_by_signals() if given[:1] == ["serve"] else contextlib.nullcontext():
                return _run(given)
        finally:
            if sys.stdout is not None:
                sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # `| head -1` has what it wanted
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor is there anything to say at the end
        return PIPE_CLOSED
    except Exception as error:
        if not _is_for_people(error):
            raise
        print(f"{name}: {printable(_sentence(error))}", file=sys.stderr)
        return 2


def _run(given: Sequence[str]) -> int:
    parser = _parser()
    if given and given[0] not in COMMANDS and not given[0].startswith("-"):
        near = difflib.get_close_matches(given[0], COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(COMMANDS)}"
        parser.error(f"there is no command {given[0]!r}; {hint}")
    if not given or given[0] not in COMMANDS:
        parser.parse_args(given or ["--help"])
        return 2
    bound_waiting()
    if (note := settle_caches(os.environ)) and given[0] not in WITHOUT_NOTE:
        print(f"dit {given[0]}: {printable(note)}", file=sys.stderr)
    command = importlib.import_module(f"dit_serve.service.commands.{given[0].replace('-', '_')}")
    own_parser = Parser(prog=f"dit {given[0]}", description=command.__doc__, allow_abbrev=False)
    own_parser.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_arguments(own_parser)
    return int(command.run(own_parser.parse_intermixed_args(_without_dashes(given[1:]))))


def _without_dashes(given: Sequence[str]) -> list[str]:
    """What is given, with paths after `--` such that they are no flags: argparse does not know it among mixed ones."""
    if "--" not in given:
        return list(given)
    end = list(given).index("--")
    return [*given[:end], *(f"./{text}" if text.startswith("-") else text for text in given[end + 1 :])]


def _parser() -> Parser:
    parser = Parser(
        prog="dit",
        description="Class-conditional images from Diffusion Transformers.",
        epilog="dit COMMAND --help says more; dit doctor says what is wrong, if something is.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=version(), help="Print the version.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        commands.add_parser(name, help=summary)
    return parser


def _is_for_people(error: Exception) -> bool:
    """Whether the text of an error says what to do; models' errors are known by name, to import no model here."""
    if isinstance(error, OSError):  # the system's: a full disk, a folder that is shut
        return error.strerror is not None
    if isinstance(error, LocalError) or found_no_memory(error):
        return True
    return any(kind.__name__ == "ModelError" for kind in type(error).__mro__)


def _sentence(error: Exception) -> str:
    if found_no_memory(error):
        return "too little memory: take a smaller model, or a machine or limit with more"
    if not isinstance(error, OSError):
        return str(error)
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror}: make room, or choose a place that can be read and written"
