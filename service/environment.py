"""Which of the process's variables are this service's.

A DIT_* name that is no setting is refused, so that a misspelt one never goes unnoticed. But Kubernetes tells every
container of each Service of its namespace, and Docker of each link, by variables that begin with the other's name: of
one called `dit`, or `dit-web`, they begin with DIT_ too, and one of them is DIT_PORT. These are known by their form,
the name and the value together (`injected`), and left out.

Knows no setting by name. References: Kubernetes, "Discovering services", environment variables (kubelet's envvars);
Docker, "Legacy container links".
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping

from dit_serve.service.errors import SettingsError

PREFIX = "DIT_"
MAX_TOLD = 3

_ADDRESS, _NUMBER, _PROTOCOL = r"[0-9]+(\.[0-9]+){3}|[0-9a-f.]*:[0-9a-f:.]*", r"[0-9]{1,5}", r"tcp|udp|sctp"
_URL = rf"({_PROTOCOL})://(\[[0-9a-f:.]+\]|[a-z0-9._-]+):[0-9]{{1,5}}"
_ONE_PORT = rf"_PORT_[0-9]+_({_PROTOCOL.upper()})"
_FORMS = {  # how a name goes on behind that of the other service, and what its value then looks like
    r"_SERVICE_HOST": _ADDRESS,
    r"_SERVICE_PORT(_[A-Z0-9_]+)?": _NUMBER,
    r"_PORT": _URL,
    _ONE_PORT + r"(_START|_END)?": _URL,
    _ONE_PORT + r"_PROTO": _PROTOCOL,
    _ONE_PORT + r"_PORT(_START|_END)?": _NUMBER,
    _ONE_PORT + r"_ADDR": _ADDRESS,
    r"_NAME": r"/[^/\s]+/[^/\s]+",
}


def injected(environment: Mapping[str, str]) -> list[str]:
    """The names of the variables that Kubernetes or Docker made for a service whose name begins with "dit"."""
    found = [name for name, text in environment.items() if name.startswith(PREFIX) and _is_of_a_link(name, text)]
    # A link brings the other container's own variables as well, of any name and value.
    own = tuple(re.sub("_(NAME|PORT)$", "_ENV_", name) for name in found if name.endswith(("_NAME", "_PORT")))
    return sorted(name for name in environment if name in found or name.startswith(own))


def own_variables(environment: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """The known variables that are there, without white space around their values and without empty ones.

    Raises:
        SettingsError: a DIT_* name is not known and none of a link.
    """
    foreign = set(injected(environment))
    ours = {name: text for name, text in environment.items() if name.startswith(PREFIX) and name not in foreign}
    if unknown := sorted(ours.keys() - set(known)):
        told = [_unknown(name, known) for name in unknown[:MAX_TOLD]]
        more = [f"and {len(unknown) - MAX_TOLD} more"] if len(unknown) > MAX_TOLD else []
        raise SettingsError("; ".join(told + more))
    return {name: text.strip() for name, text in ours.items() if text.strip()}


def is_quoted(text: str) -> bool:
    """Whether a value has quotation marks around it, which only a shell takes away."""
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _is_of_a_link(name: str, text: str) -> bool:
    return any(
        re.fullmatch(rf"{PREFIX[:-1]}(_[A-Z0-9_]+)?{ending}", name) and re.fullmatch(value, text.strip(), re.IGNORECASE)
        for ending, value in _FORMS.items()
    )


def _unknown(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    shown = name if len(name) <= 60 else f"{name[:60]}…"
    return f"{shown} is no setting; " + (f"did you mean {near[0]}?" if near else "dit serve --help lists them")
