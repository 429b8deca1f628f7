"""The command line, `dit`: one sub-command per file of `service.commands`.

A command's own module, and with it torch, is imported only when that command runs.
An error that people can act on is printed as one sentence, with status 2.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import sys
from collections.abc import Sequence

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
    "train": "Train a DiT on labelled images.",
    "train-autoencoder": "Train an autoencoder on images.",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Before all else: an import takes a second, and a signal may come in it.
    with ended_by_signals() if given[:1] == ["serve"] else contextlib.nullcontext():
        return _run(given)


def _run(given: list[str]) -> int:
    parser = _parser()
    if not given or given[0] not in COMMANDS:
        parser.parse_args(given or ["--help"])
        return 2
    bound_waiting()
    command = importlib.import_module(f"dit_serve.service.commands.{given[0].replace('-', '_')}")
    own_parser = argparse.ArgumentParser(prog=f"dit {given[0]}", description=command.__doc__, allow_abbrev=False)
    own_parser.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_arguments(own_parser)
    try:
        return int(command.run(own_parser.parse_intermixed_args(given[1:])))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _is_for_people(error):
            raise
        print(f"dit {given[0]}: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
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
    return isinstance(error, LocalError) or any(kind.__name__ == "ModelError" for kind in type(error).__mro__)
