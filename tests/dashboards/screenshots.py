"""Images of the pages, for the README and for looking at them: ``python -m tests.dashboards.screenshots --help``.

``--pages overview failures`` at the default size gives the README's pictures; ``--pages all --sizes all --schemes all``
takes everything, review mode and the answers of the search included. ``--photos`` writes a data folder of photographs
with long texts first.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Browser, Page

from tests.dashboards.browser import chromium, serving, settled
from tests.dashboards.photos import build_photos

_SIZES = {"readme": (1280, 860), "desk": (1440, 900), "laptop": (1280, 720), "phone": (390, 844)}
_PAGES = {
    "overview": "/",
    "review": "/sample?" + urlencode({"view": "outcome=All&sort=As stored"}),
    "map": "/find?" + urlencode({"find_by": "On a map"}),
    "groups": "/find?" + urlencode({"find_by": "In groups"}),
} | {
    name: f"/{name}"
    for name in ("failures", "queues", "conflicts", "corrections", "slices", "compare", "side_by_side", "find",
                 "training", "curation", "thresholds", "duplicates", "run")
}  # fmt: skip
_LIMIT = 250_000  # bytes of one image


def main() -> None:
    """Take the images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--photos", action="store_true", help="write --data anew, with photographs and long texts")
    parser.add_argument("--out", type=Path, default=Path("docs"))
    parser.add_argument("--pages", nargs="+", choices=["all", *_PAGES], default=["overview", "failures"])
    parser.add_argument("--sizes", nargs="+", choices=["all", *_SIZES], default=["readme"])
    parser.add_argument("--schemes", nargs="+", choices=["all", "light", "dark"], default=["light"])
    parser.add_argument("--whole", action="store_true", help="the whole page, not only what a window shows of it")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.photos:
        build_photos(options.data)
    with serving(options.data, "--allow-runs") as address, chromium() as browser:
        for scheme in _chosen(options.schemes, ["light", "dark"]):
            for size in _chosen(options.sizes, list(_SIZES)):
                _take(browser, address, _chosen(options.pages, list(_PAGES)), size, scheme, options)


def _chosen(names: list[str], known: list[str]) -> list[str]:
    return known if "all" in names else names


def _take(
    browser: Browser, address: str, pages: list[str], size: str, scheme: str, options: argparse.Namespace
) -> None:
    width, height = _SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, base_url=address  # type: ignore[arg-type]
    )  # fmt: skip
    tab = context.new_page()
    for page in pages:
        tab.set_viewport_size({"width": width, "height": height})
        tab.goto(_PAGES[page])
        _drawn(tab, page)
        if options.whole and (rest := tab.get_by_test_id("stMainBlockContainer").bounding_box()):
            tab.set_viewport_size({"width": width, "height": max(height, int(rest["height"]))})
            _drawn(tab, page)
        name = "-".join(
            ["dashboard", page, *([] if size == "readme" else [size]), *(["dark"] if scheme == "dark" else [])]
        )
        shot = _small(tab.screenshot())
        target = options.out / f"{name}.png"
        target.write_bytes(shot)
        print(f"{target}: {len(shot):,} bytes", flush=True)
    context.close()


def _drawn(tab: Page, page: str) -> None:
    """Wait until nothing on the page moves any more."""
    settled(tab)
    if page == "failures":
        tab.locator("a.card img").first.wait_for(timeout=60_000)
    if page == "review":
        tab.locator(".panel .question, .panel .turns").first.wait_for(timeout=60_000)
    tab.wait_for_timeout(1500)  # charts and tables draw after the script has run
    tab.wait_for_function("() => !document.querySelector('[data-testid=stSkeleton]')", timeout=60_000)
    settled(tab)


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
