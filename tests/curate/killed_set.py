"""A set of most kinds of rows for runs that are killed, and what they must leave."""

import hashlib
import json
from pathlib import Path

from tests.curate import sets


def make(folder: Path) -> None:
    """150 rows about 90 images, among them copies, damaged and missing ones, and an evaluation set of nine."""
    for number in range(90):
        sets.save(folder / "images" / f"{number}.jpg", sets.scene(number % 80, side=160), quality=60 + number // 3)
    (folder / "images" / "5.jpg").write_bytes(b"no image")
    rows = [
        sets.row(number, f"{number % 95}.jpg", f"What is it{'!' * (number % 3)}", f"number {number % 7}")
        for number in range(150)
    ]
    sets.write_lines(folder / "rows.jsonl", [*rows, "this is no JSON"])
    held = [sets.row(number, f"{10 * number}.jpg", source="held") for number in range(9)]
    sets.write_lines(folder / "held.jsonl", held)
    sets.write_recipe(
        Path(folder),
        out="out",
        sources=[{"location": "rows.jsonl", "image_root": "images"}],
        signals={"workers": 2, "shard_size": 8},
        duplicates={},
        similar_texts={"of": ["row"], "min_words": 3},
        contamination={"against": [{"location": "held.jsonl", "image_root": "images", "source": "held"}]},
    )


def outputs(folder: Path) -> dict[str, str]:
    """Digest of every file of the result; of the manifest without its times."""
    out = folder / "out"
    found = {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not {"work", ".cache"} & {*path.relative_to(out).parts} and path.name != "manifest.json"
    }
    manifest = json.loads((out / "manifest.json").read_text())
    return {**found, "counts": manifest["counts"], "outputs": manifest["outputs"], "inputs": manifest["inputs"]}
