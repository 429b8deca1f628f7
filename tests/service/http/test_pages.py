"""What a browser loads: /docs with all that it refers to, from here alone, and the icon."""

from __future__ import annotations

import re

import httpx
import pytest

TYPES = {"json": "application/json"}
TYPES |= {"js": "text/javascript; charset=utf-8", "css": "text/css; charset=utf-8", "ico": "image/svg+xml"}


def directives(policy: str) -> dict[str, set[str]]:
    """The sources that a Content-Security-Policy allows, by directive."""
    return {name: set(sources) for name, *sources in (part.split() for part in policy.split(";"))}


def test_the_page_and_all_that_it_refers_to_come_from_here(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = re.findall(r"(?:src|href)=\"([^\"]*)\"", page.text)
    assert {link.rpartition(".")[2] for link in links} == TYPES.keys()
    for link in links:
        assert not re.match(r"/|[a-z]+:", link)  # relative, so that it holds behind a prefix
        loaded = client.get(f"/{link}")
        assert (loaded.status_code, loaded.headers["content-type"]) == (200, TYPES[link.rpartition(".")[2]]), link
        assert loaded.headers.get("x-content-type-options") == "nosniff" or link == "openapi.json"


def test_the_policy_allows_no_other_host_and_nothing_inline(client: httpx.Client) -> None:
    page = client.get("/docs")
    allowed = directives(page.headers["content-security-policy"])
    assert allowed["default-src"] == {"'none'"}
    assert allowed["script-src"] == allowed["style-src"] == allowed["connect-src"] == {"'self'"}
    assert set().union(*allowed.values()) == {"'none'", "'self'", "data:", "blob:"}
    assert not re.search(r"<style|style=|<script>|\son\w+=", page.text)


def test_the_page_shows_our_description_and_asks_no_validator(client: httpx.Client) -> None:
    script = client.get("/docs/start.js").text
    assert 'url: document.querySelector("link[rel=service-desc]").href' in script
    assert '<link rel="service-desc" type="application/json" href="openapi.json">' in client.get("/docs").text
    assert "validatorUrl: null" in script
    assert client.get("/openapi.json").status_code == 200


@pytest.mark.parametrize("path", ["/docs/redoc.standalone.js", "/docs/../pages.py", "/docs/", "/redoc"])
def test_nothing_else_is_served(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404
