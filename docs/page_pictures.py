"""The pictures of docs/page.md: each view of the page as Chromium shows it, of a real server with the demo models.

Needs the extra `browser` and Debian's chromium; `make page-pictures` installs the first and says what else is missing.
Run again it gives pictures of the same things; words that tell times are those of the machine.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright

from dit_serve.service.image.png import encode_png, read_png

MODELS = "digits-64,digits-128,fashion-64"
WINDOW = {"width": 1440, "height": 800}
PHONE = {"width": 390, "height": 844}
FLAT, GREYS, HUES = 32, 64, 64  # of which a picture is made: a third of the bytes of all of its colours
VIVID = 24  # of 255, between the channels of a colour that is no grey
PATIENCE_MS = 60_000  # for a machine that is busy with other work
COMMON = "steps=50&sampler=ddim&keep=1&made=1"
MAKE = f"#make?model=fashion-64&class=7&cfg=4&seed=12&n=12&{COMMON}"
SWEEP = f"#sweep?model=fashion-64&class=9&cfg=4&seed=3&{COMMON}&x=cfg&xv=1,1.5,2.5,4,8,16&y=steps&yv=2,5,10,50&size=m"
COMPARE = f"#compare?model=digits-64&class=3&cfg=4&seed=0&{COMMON}&right=fashion-64&classes=3,8&seeds=0..1&factor=1"
CLOTHES = ((0, 4), (1, 9), (3, 2), (7, 12), (9, 30))  # (class, seed) of what is dropped on the gallery


@contextmanager
def served() -> Iterator[str]:
    """The address of `dit serve` at a free port, ready; it ends with the with-statement."""
    command = [str(Path(sys.executable).parent / "dit"), "serve", "--models", MODELS]
    command += ["--port", "0", "--metrics-port", "0", "--standby", "false"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            said: dict[str, dict[str, Any]] = {}
            while "ready" not in said:
                line = process.stderr.readline()
                if not line:
                    raise SystemExit("dit serve ended before it was ready; run it by itself to see why")
                if line.startswith("{"):
                    said[json.loads(line).get("event", "")] = json.loads(line)
            yield f"http://127.0.0.1:{said['listening']['port']}"
        finally:
            process.terminate()
            process.stderr.read()  # to its end, or the process could not write what it has to say


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's, without a window."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("chromium is missing: apt install chromium fonts-dejavu-core")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def pictures_are_there(page: Page) -> None:
    """Waits for the end of the run."""
    expect(page.locator(".tile").first).to_be_visible()
    expect(page.locator(".tile.waiting, .tile.queued, .tile.running")).to_have_count(0)


def numbers_are_there(page: Page) -> None:
    """Waits until every pair is compared."""
    pictures_are_there(page)
    expect(page.get_by_text(re.compile("of 4,?096 pixels differ"))).to_have_count(4)


def fill_gallery(page: Page) -> None:
    """Adds pictures of the service, one of them changed by hand, and has them made again."""
    address = page.url.partition("#")[0]
    files = [(f"{class_id}-{seed}.png", made(address, class_id, seed)) for class_id, seed in CLOTHES]
    files += [("retouched.png", retouched(files[0][1])), ("holiday.png", without_receipt())]
    page.get_by_label("Add PNGs").set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": data} for name, data in files]
    )
    page.get_by_role("button", name="Make again", exact=True).click()
    expect(page.get_by_role("row").filter(has_text="equal")).to_have_count(len(files) - 1)


def open_picture(page: Page) -> None:
    """Opens the first picture and has it made again."""
    pictures_are_there(page)
    page.locator(".tile").first.click()
    dialog = page.get_by_role("dialog", name="Picture")
    dialog.get_by_role("button", name="Make again").click()
    expect(dialog.get_by_text("equal, byte for byte")).to_be_visible()


def made(address: str, class_id: int, seed: int) -> bytes:
    """A PNG of the service's API."""
    body = json.dumps({"model": "fashion-64", "class_id": class_id, "steps": 20, "seed": seed}).encode()
    request = urllib.request.Request(f"{address}generate", body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        data: bytes = answer.read()
    return data


def retouched(data: bytes) -> bytes:
    """A picture of the service with a spot, its receipt left as it was."""
    image, receipt = read_png(data)
    pixels = np.array(image)
    pixels[28:32, 28:32] = (200, 40, 40)
    return encode_png(pixels, receipt.to_chunks())


def without_receipt() -> bytes:
    """A PNG that no model made."""
    out = io.BytesIO()
    Image.linear_gradient("L").resize((96, 64)).convert("RGB").save(out, "PNG")
    return out.getvalue()


def take(page: Page, path: Path) -> None:
    """Writes what is seen, in few colours."""
    page.mouse.move(0, 0)
    shot = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    few = shot.quantize(palette=palette_of(shot), dither=Image.Dither.NONE)
    few.save(path, "PNG", optimize=True)
    print(f"{path}: {path.stat().st_size >> 10} kB")


def palette_of(shot: Image.Image) -> Image.Image:
    """Greys from black to white, what large parts are filled with, and hues, of which few pixels are and all count."""
    colours, counts = np.unique(np.asarray(shot).reshape(-1, 3), axis=0, return_counts=True)
    frequent = colours[np.argsort(-counts, kind="stable")]
    is_vivid = np.ptp(frequent.astype(int), axis=1) >= VIVID
    ramp = np.linspace(0, 255, GREYS).round().astype(np.uint8)[:, None].repeat(3, axis=1)
    palette = Image.new("P", (1, 1))
    palette.putpalette(np.concatenate([frequent[~is_vivid][:FLAT], ramp, frequent[is_vivid][:HUES]]).tobytes())
    return palette


def main() -> None:
    """Takes all pictures into the folder that is named."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    shots: list[tuple[str, str, Callable[[Page], None], dict[str, Any]]] = [
        ("make", MAKE, pictures_are_there, {}),
        ("sweep", SWEEP, pictures_are_there, {}),
        ("compare", COMPARE, numbers_are_there, {}),
        ("gallery", "#gallery", fill_gallery, {}),
        ("picture-dark", MAKE, open_picture, {"color_scheme": "dark"}),
        ("make-phone", MAKE, pictures_are_there, {"viewport": PHONE, "device_scale_factor": 2, "has_touch": True}),
    ]
    expect.set_options(timeout=PATIENCE_MS)
    with served() as address, chromium() as browser:
        for name, fragment, prepare, options in shots:
            context = browser.new_context(**{"viewport": WINDOW, "color_scheme": "light"} | options)
            page = context.new_page()
            page.goto(f"{address}/{fragment}")
            prepare(page)
            take(page, folder / f"{name}.png")
            context.close()


if __name__ == "__main__":
    main()
