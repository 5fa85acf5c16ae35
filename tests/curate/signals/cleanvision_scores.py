"""CleanVision's own scores of the test images, stored beside this file:

pip install cleanvision==0.3.7
python -m tests.curate.signals.cleanvision_scores
"""

import json
import tempfile
from importlib.metadata import version
from pathlib import Path

import skimage
import sklearn.datasets
from PIL import Image

from tests.curate.make_images import encoded, noise, shape, write

STORED = Path(__file__).with_suffix(".json")
SCORES = ("dark", "light", "low_information", "odd_aspect_ratio", "odd_size", "blurry", "grayscale")


def write_images(folder: Path) -> list[str]:
    """Photographs, drawings, pages, odd sizes, and one image of every mode; returns their names."""
    shipped = Path(skimage.__file__).parent / "data"
    for name in ("astronaut", "camera", "chelsea", "coffee", "coins", "moon", "page", "text"):
        write(folder / f"{name}.png", (shipped / f"{name}.png").read_bytes())
    photos = Path(sklearn.datasets.__file__).parent / "images"
    for name in ("china.jpg", "flower.jpg"):
        write(folder / name, (photos / name).read_bytes())
    write(folder / "rocket.jpg", (shipped / "rocket.jpg").read_bytes())
    image = Image.open(photos / "china.jpg")
    for mode in ("1", "L", "P", "RGBA", "I;16"):
        write(folder / f"mode-{mode.replace(';', '')}.png", encoded(image.convert(mode)))
    for mode in ("L", "CMYK"):
        write(folder / f"mode-{mode}.jpg", encoded(image.convert(mode), "JPEG"))
    see_through = image.convert("RGBA")
    see_through.putalpha(image.convert("L"))
    write(folder / "see-through.png", encoded(see_through))
    write(folder / "transparent-colour.png", encoded(shape(), transparency=(200, 30, 30)))
    exif = Image.Exif()
    exif[0x0112] = 6
    write(folder / "turned.jpg", encoded(image, "JPEG", exif=exif))
    write(folder / "moving.gif", encoded(noise(), "GIF", save_all=True, append_images=[noise(seed=1)]))
    for colour in ("black", "white", "red", "green", "blue", "yellow"):
        write(folder / f"flat-{colour}.png", Image.new("RGB", (90, 70), colour))
    for size in ((1, 1), (2, 1), (64, 64), (65, 64), (640, 3), (3, 640), (200, 300)):
        write(folder / f"noise-{size[0]}x{size[1]}.png", noise(*size))
    write(folder / "drawing.png", shape())
    gamut = [(r, g, b) for r in range(0, 256, 17) for g in range(0, 256, 17) for b in range(0, 256, 17)]
    colours = Image.new("RGB", (64, 64))
    colours.putdata(gamut)
    write(folder / "colours.png", colours)
    return sorted(path.name for path in folder.iterdir())


def peer_scores(folder: Path) -> dict[str, dict[str, float]]:
    """File name → score → value, as the installed CleanVision computes them."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(folder), verbose=False)
    lab.find_issues({name: {} for name in SCORES}, n_jobs=1, verbose=False)
    rows = lab.issues[[f"{name}_score" for name in SCORES]]
    return {Path(path).name: {name: float(value) for name, value in row.items()} for path, row in rows.iterrows()}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        write_images(Path(made))
        stored = {"cleanvision": version("cleanvision"), "pillow": version("pillow"), "scores": peer_scores(Path(made))}
    STORED.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
