"""The page as it comes over the wire: each file of it is needed, and it works wherever a proxy shows it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.service.running import ROOT, Running, free_port
from tests.system.browser.conftest import Visit
from tests.system.browser.driver import expect
from tests.system.browser.watch import OWN_SCHEMES

WEB = ROOT / "service" / "http" / "web"
PREFIX = "/images"

pytestmark = pytest.mark.system


@contextmanager
def proxy(folder: Path, server: Running, port: int) -> Iterator[None]:
    """nginx in front, which shows the service under a path as docs/operations.md says."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    place = f"""location {PREFIX}/ {{ proxy_pass {server.url}/; proxy_buffering off; proxy_http_version 1.1;
        proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Prefix {PREFIX}; }}"""
    block = f"server {{ listen 127.0.0.1:{port}; {place} }}"
    config = f"daemon off; pid {folder}/pid; events {{}} http {{ access_log off; {paths} {block} }}"
    (folder / "nginx.conf").write_text(config, encoding="utf-8")
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin:/bin")
    assert program is not None, "nginx is missing: `make test-system` installs it"
    command = [program, "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(folder / "nginx.conf")]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()


def test_every_file_is_served_and_used(visit: Visit, fakes: Running) -> None:
    viewer = visit(fakes)
    expect(viewer.button("Make")).to_be_enabled()
    viewer.view("Gallery")
    asked = {each.url.rpartition("/")[2] for each in viewer.watch.requests if "/web/" in each.url}
    assert asked == {path.name for path in WEB.iterdir() if path.suffix in (".js", ".css")}


def test_the_page_works_under_a_path_of_a_proxy(visit: Visit, fakes: Running, tmp_path: Path) -> None:
    port = free_port()
    with proxy(tmp_path, fakes, port):
        origin = f"http://127.0.0.1:{port}"
        viewer = visit(origin, f"{PREFIX}/")
        viewer.choose_class("5")
        viewer.fill(steps=4, images=2)
        viewer.make()
        viewer.wait_for_pictures(2)
        known = (f"{origin}{PREFIX}/", *OWN_SCHEMES)
        assert [each.url for each in viewer.watch.requests if not each.url.startswith(known)] == []
        viewer.page.reload()
        viewer.wait_for_pictures(2)
        assert re.match(rf"{origin}{PREFIX}/#make\?", viewer.page.url)
