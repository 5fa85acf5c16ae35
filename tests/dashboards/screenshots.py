"""Images of the pages for the README: ``python -m tests.dashboards.screenshots --data data --out docs``."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from tests.dashboards.browser import chromium, serving, settled

_VIEWPORT = {"width": 1280, "height": 860}
_NAMES = ("overview", "failures", "sample", "slices", "compare", "training", "curation", "thresholds", "duplicates",
          "corrections")  # fmt: skip
_PAGES = {name: f"/{name}" for name in _NAMES} | {"overview": "/", "sample": "/failures"}
_LIMIT = 250_000  # bytes of one image


def main() -> None:
    """Take the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--pages", nargs="+", choices=_PAGES, default=["overview", "failures"])
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--height", type=int, default=_VIEWPORT["height"])
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with serving(options.data) as address, chromium() as browser:
        for page in options.pages:
            target = options.out / f"dashboard-{page}{'-dark' if options.dark else ''}.png"
            shot = _small(_shot(browser, address, page, dark=options.dark, height=options.height))
            target.write_bytes(shot)
            print(f"{target}: {len(shot):,} bytes")


def _shot(browser: Browser, address: str, page: str, *, dark: bool, height: int) -> bytes:
    context = browser.new_context(
        viewport={"width": _VIEWPORT["width"], "height": height},
        color_scheme="dark" if dark else "light",
        base_url=address,
    )
    tab = context.new_page()
    tab.goto(_PAGES[page])
    settled(tab)
    if page in ("failures", "sample"):
        tab.locator("a.card img").first.wait_for(timeout=60_000)
    if page == "sample":
        tab.locator("a.card").first.click()
        tab.wait_for_url("**/sample**", timeout=60_000)
    settled(tab)
    tab.wait_for_timeout(1500)  # charts and tables draw after the script has run
    tab.wait_for_function("() => !document.querySelector('[data-testid=stSkeleton]')", timeout=60_000)
    settled(tab)
    taken = tab.screenshot()
    context.close()
    return taken


def _small(shot: bytes) -> bytes:
    """The image as a PNG below the limit: with a palette, and smaller if need be."""
    image = Image.open(io.BytesIO(shot)).convert("RGB")
    while True:
        buffer = io.BytesIO()
        image.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
        if buffer.tell() < _LIMIT:
            return buffer.getvalue()
        image = image.resize((image.width * 9 // 10, image.height * 9 // 10), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main()
