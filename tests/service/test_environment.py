"""Which DIT_* variables count: none that Kubernetes or Docker makes for a neighbour; a misspelt one is refused."""

from __future__ import annotations

import pytest

from dit_serve.service.environment import injected, own_variables
from dit_serve.service.errors import SettingsError

KNOWN = {"DIT_PORT", "DIT_METRICS_PORT", "DIT_HOST", "DIT_MODELS"}


def of_kubernetes(service: str, host: str = "10.96.0.12", protocol: str = "tcp") -> dict[str, str]:
    """What the kubelet makes of a Service with one port."""
    url = f"{protocol}://{f'[{host}]' if ':' in host else host}:8000"
    one = f"{service}_PORT_8000_{protocol.upper()}"
    ports = {one: url, f"{one}_PROTO": protocol, f"{one}_PORT": "8000", f"{one}_ADDR": host}
    names = {f"{service}_SERVICE_HOST": host, f"{service}_SERVICE_PORT": "8000", f"{service}_SERVICE_PORT_HTTP": "8000"}
    return {**names, f"{service}_PORT": url, **ports}


def of_docker(alias: str) -> dict[str, str]:
    """What Docker makes of a link to a container that publishes a range of ports."""
    one = f"{alias}_PORT_8000_TCP"
    url = "tcp://172.17.0.5:8000"
    ports = {one: url, f"{one}_START": url, f"{one}_END": "tcp://172.17.0.5:8010"}
    ports |= {f"{one}_PORT_START": "8000", f"{one}_PORT_END": "8010"}
    ports |= {f"{one}_ADDR": "172.17.0.5", f"{one}_PROTO": "tcp"}
    return {f"{alias}_NAME": f"/web/{alias.lower()}", f"{alias}_PORT": url, **ports}


@pytest.mark.parametrize(
    "made",
    [
        of_kubernetes("DIT"),
        of_kubernetes("DIT_WEB"),
        of_kubernetes("DIT_METRICS", host="fd00:10:96::c"),
        of_kubernetes("DIT", protocol="udp"),
        of_docker("DIT"),
        {**of_docker("DIT_1"), "DIT_1_ENV_PATH": "/usr/bin", "DIT_1_ENV_GREETING": ""},
    ],
)
def test_what_is_made_for_a_neighbour_is_known_by_its_form_and_left_out(made: dict[str, str]) -> None:
    assert injected({**made, "PATH": "/bin", "DIT_HOST": "::"}) == sorted(made)
    assert own_variables({**made, "PATH": "/bin", "DIT_HOST": "::"}, KNOWN) == {"DIT_HOST": "::"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("DIT_SERVICE_HOST", "localhost"),
        ("DIT_SERVICE_PORT", "tcp"),
        ("DIT_NAME", "seven"),
        ("DIT_PRT", "tcp://10.0.0.1:80"),
        ("DIT_PORT_8000", "tcp://10.0.0.1:80"),
        ("DIT_ENV_PATH", "/usr/bin"),  # without the link that it would come with
        ("DIT_MODEL", "/a/b"),
    ],
)
def test_a_name_or_a_value_of_another_form_is_refused(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} is no setting; "):
        own_variables({name: text}, KNOWN)


@pytest.mark.parametrize("text", ["8000", "abc", "tcp://", "10.0.0.1:8000", "http://10.0.0.1:8000"])
def test_a_setting_with_a_value_of_another_form_is_a_setting(text: str) -> None:
    assert own_variables({"DIT_PORT": text}, KNOWN) == {"DIT_PORT": text}


def test_unknown_names_are_told_together_and_not_without_end() -> None:
    with pytest.raises(SettingsError) as caught:
        own_variables({f"DIT_X{k}" + "Y" * 99: "" for k in range(50)}, KNOWN)
    assert str(caught.value).count("is no setting") == 3
    assert str(caught.value).endswith("and 47 more")
    assert len(str(caught.value)) < 400
