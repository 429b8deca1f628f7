"""The pages name what exists: files, sections, targets of make, settings. The README is short and leads to them all."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from dit_serve.service.environment import PREFIX
from dit_serve.service.http_limits import HttpLimits
from dit_serve.service.settings import READ_ELSEWHERE, setting_fields
from tests.pages import DOCS, PAGES, ROOT, blocks, name_of, prose

MOST_LINES = 120
SUFFIXES = (".py", ".md", ".sh", ".yml", ".toml", ".conf", ".lock")
MADE_LATER = ("build/", ".venv", "docker/secrets/")  # by make, on the reader's machine
NOT_OURS = {"train.py"}  # the published training script

README = ROOT / "README.md"
_QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.", re.DOTALL)
_COMMAND = re.compile(r"`((?:[A-Z_]+=\S+ )*(?:pip|dit|make|curl|docker|python)\b[^`]*)`")


def wrong_paths(text: str, page: Path) -> list[str]:
    """What a page names in links and backticks as a file, folder or section of the repository, and is none."""
    return [link for link in links(text) if not leads_somewhere(link, page)] + [
        name for name in named_paths(text) if not is_in_tree(name)
    ]


def links(text: str) -> list[str]:
    """The targets of links and pictures, those to other places left out."""
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(text))
    return [target for target in targets if not target.startswith(("http://", "https://"))]


def misread(commands: str) -> list[str]:
    """The words that zsh takes otherwise than bash when somebody types them: patterns, comments, `=name`; or `a>=1`."""
    words = _QUOTED.sub("_", commands).split()
    return [word for word in words if word[0] in "#=" or any(part in word for part in ("[", "?", "*", "~=", ">="))]


def leads_somewhere(link: str, page: Path) -> bool:
    """Whether a link's file exists, with a heading for its anchor."""
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in anchors(target.read_text(encoding="utf-8")))


def anchors(text: str) -> list[str]:
    """The names that a host of repositories gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose(text), re.MULTILINE)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def named_paths(text: str) -> list[str]:
    """The words in backticks that look like a path of ours: by their beginning, or by their end."""
    top = {path.name for path in ROOT.iterdir()}
    words = [word for word in re.findall(r"`([^`\s]+)`", prose(text)) if re.fullmatch(r"[\w./\-]+", word)]
    return [
        word
        for word in words
        if word.endswith(SUFFIXES) or ("/" in word and not word.startswith("/") and word.split("/")[0] in top)
    ]


def is_in_tree(name: str) -> bool:
    """Whether it is a path from the root; of a bare name, whether any file has it."""
    if name.startswith(MADE_LATER) or name in NOT_OURS:
        return True
    if "DATE" in name:  # of a day that is not known yet
        return (ROOT / name).parent.is_dir()
    return (ROOT / name).exists() or ("/" not in name and is_somewhere(name))


def is_somewhere(name: str) -> bool:
    packages = ("service", "models", "kernels", "benchmarks", "tests", "docs", "docker")
    return any(next((ROOT / package).rglob(name), None) for package in packages)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_names_exists(page: Path) -> None:
    assert wrong_paths(page.read_text(encoding="utf-8"), page) == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_settings_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"\bDIT_[A-Z_]+[A-Z]\b", page.read_text(encoding="utf-8")))
    assert named <= {PREFIX + name.upper() for name in setting_fields()} | READ_ELSEWHERE


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_targets_of_make_that_a_page_names_exist(page: Path) -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert named <= set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("see `service/http/app.py` and `docs/`, or `app.py`", []),
        ("see `service/http/nothing.py`", ["service/http/nothing.py"]),
        ("see `nowhere/x.py`", ["nowhere/x.py"]),
        ("see `nothing.py`", ["nothing.py"]),
        ("see `models/nowhere`", ["models/nowhere"]),
        ("answers `image/png` to `GET /livez`, from `owner/name`", []),
        ("see [this](docs/api.md#errors) and [that](https://example.org/nothing)", []),
        ("see [this](docs/nothing.md)", ["docs/nothing.md"]),
        ("see [this](docs/api.md#nothing)", ["docs/api.md#nothing"]),
        ("![a picture](models/nothing.png)", ["models/nothing.png"]),
        ("```sh\ncat `service/nothing.py`\n```", []),
    ],
)
def test_what_does_not_exist_is_found(text: str, wrong: list[str]) -> None:
    assert wrong_paths(text, README) == wrong


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_has_people_type_is_the_same_in_bash_and_zsh(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    typed = [block.text for block in blocks(text, name_of(page)) if block.language == "sh"]
    typed += _COMMAND.findall(prose(text))
    assert [word for commands in typed for word in misread(commands)] == []


@pytest.mark.parametrize(
    ("commands", "words"),
    [
        ("pip install '.[gpu]' \"a[b]\" a\\?b 'torch>=2'", []),
        ("curl -d '{\"a\": [1]}' \\\n     -o x.png", []),
        ("pip install .[gpu]", [".[gpu]"]),
        ("curl http://host/classes?q=1", ["http://host/classes?q=1"]),
        ("ls *.png", ["*.png"]),
        ("make serve  # serves", ["#"]),
        ("pip install torch>=2 diffusers~=0.39", ["torch>=2", "diffusers~=0.39"]),
        ("which =ls", ["=ls"]),
    ],
)
def test_words_that_shells_take_differently_are_found(commands: str, words: list[str]) -> None:
    assert misread(commands) == words


def test_the_readme_is_one_page() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_the_readme_leads_to_every_page() -> None:
    led_to = {link.partition("#")[0] for link in links(README.read_text(encoding="utf-8"))}
    assert {name_of(page) for page in PAGES if page != README} <= led_to


@pytest.mark.parametrize("page", DOCS, ids=name_of)
def test_a_page_begins_with_whom_it_is_for(page: Path) -> None:
    title, empty, first, *_ = page.read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ")
    assert empty == ""
    assert first.startswith("For whoever ")


def test_nginx_has_the_limits_that_the_guide_says_it_has() -> None:
    """Those of the service by default."""
    text = (ROOT / "docker" / "nginx.conf").read_text(encoding="utf-8")
    settings = HttpLimits()
    limits = {
        "client_header_timeout": f"{settings.header_seconds:g}s",
        "client_body_timeout": f"{settings.body_seconds:g}s",
        "send_timeout": f"{settings.write_seconds:g}s",
        "client_max_body_size": f"{settings.max_body_bytes >> 10}k",
        "large_client_header_buffers": f"4 {settings.max_header_bytes >> 12}k",
    }
    assert {name: re.findall(rf"^ +{name} ([^;]+);", text, re.MULTILINE) for name in limits} == {
        name: [limit] for name, limit in limits.items()
    }


def test_make_help_tells_every_target_and_serving_is_what_make_does() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", text, re.MULTILINE)
    told = subprocess.run(["make", "--silent", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split(maxsplit=1)[0] for line in told.splitlines() if len(line.split()) > 1] == targets
    assert set(re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE)[0].split()) == set(targets)
    assert ".DEFAULT_GOAL := serve" in text
