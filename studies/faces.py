"""What the face detector finds in photographs, as a sheet for a person to judge.

Writes a PNG with every face that it finds, cut out and numbered by rising score, and a JSON file with the name of each
one's photograph and of the photographs without any. The docs count what one person saw on the 200 test photographs of
BSDS500, which nothing was tuned on:

    git clone https://github.com/BIDS/BSDS500
    python -m studies.faces --photos BSDS500/BSDS500/data/images/test --out build/faces
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from PIL import Image, ImageDraw

from curate.signals.faces import faces
from studies.harmless import photographs_of

_SIDE, _ACROSS, _MARGIN = 100, 12, 0.6  # pixels of a cut-out, cut-outs in a row, what is shown around a face


def main() -> None:
    """Write the sheet and the list, and print how many faces there are and what one image costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of photographs")
    parser.add_argument("--out", type=Path, required=True, help="a folder for sheet.png and found.json")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    found: list[tuple[float, str, Image.Image]] = []
    without = []
    files, started = photographs_of(given.photos), time.process_time()
    for file in files:
        image = Image.open(file).convert("RGB")
        boxes = faces(image)["face_boxes"]
        found += [(score, file.stem, cut_out(image, box)) for *box, score in boxes]
        without += [] if boxes else [file.stem]
    seconds = (time.process_time() - started) / max(len(files), 1)
    found.sort(key=lambda each: each[:2])
    sheet_of([image for _, _, image in found]).save(given.out / "sheet.png")
    listed = [{"photograph": name, "score": round(score, 4)} for score, name, _ in found]
    (given.out / "found.json").write_text(json.dumps({"found": listed, "without": without}, indent=1), encoding="utf-8")
    print(f"{len(found)} faces in {len(files) - len(without)} of {len(files)} photographs; {seconds:.2f} CPU s each")


def cut_out(image: Image.Image, box: list[float]) -> Image.Image:
    """The face with a margin, as a square.

    Args:
        box: left, top, right, bottom as shares of width and height.
    """
    left, top, right, bottom = (share * side for share, side in zip(box, image.size * 2, strict=True))
    across, down = _MARGIN * (right - left), _MARGIN * (bottom - top)
    return image.crop((int(left - across), int(top - down), int(right + across), int(bottom + down))).resize(
        (_SIDE, _SIDE)
    )


def sheet_of(images: list[Image.Image]) -> Image.Image:
    """All of them in rows, each with its number."""
    rows = -(-len(images) // _ACROSS) or 1
    sheet = Image.new("RGB", (_ACROSS * _SIDE, rows * _SIDE))
    pen = ImageDraw.Draw(sheet)
    for number, image in enumerate(images):
        place = (number % _ACROSS * _SIDE, number // _ACROSS * _SIDE)
        sheet.paste(image, place)
        pen.text((place[0] + 2, place[1] + 2), str(number), "yellow")
    return sheet


if __name__ == "__main__":
    main()
