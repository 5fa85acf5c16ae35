"""Write the demo's raw data: easy-vqa with known defects in its train split, and the truth about them.

python -m winnow.demo.dataset --out data/raw/demo
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.parquet as pq
import typer

from winnow import console
from winnow.demo import defects
from winnow.demo.captions import caption_samples
from winnow.demo.defects import Shares
from winnow.demo.easy_vqa import Question, QuestionType, by_image, image_paths, load_questions, package_inputs
from winnow.demo.train_split import Truth, original, to_sample, write_lines, write_train
from winnow.files import digest_of, sha256_file
from winnow.progress import track
from winnow.run import is_current, read_manifest, whole_folder, write_manifest

STAGE = "demo-data"
VERSION = 1  # raise it when this code makes other data from the same package
TABLES = ("vqa.jsonl", "captions.parquet", "truth.parquet", "test.jsonl", "test_captions.jsonl")
SEED = 20
DEFAULT_SHARES = Shares()

app = console.new_app(single_command=True)


def make_dataset(
    out: Path, *, images: int | None = None, kinds: Collection[QuestionType] | None = None, seed: int = SEED,
    shares: Shares = DEFAULT_SHARES,
) -> bool:  # fmt: skip
    """Write the folder ``out`` unless it is current. Returns whether anything was written.

    Args:
        images: number of train images to take, from the first; a quarter as many test images are taken.
        kinds: take only questions of these types.
        seed: of every choice; the same seed gives the same bytes.
        shares: how much of the train split gets which defect.

    Raises:
        UserError: ``easy-vqa`` is not installed, or ``out`` is a folder with something else in it.
    """
    started = time.monotonic()
    recipe: dict[str, Any] = {"version": VERSION, "images": images, "seed": seed, "shares": asdict(shares)}
    recipe |= {"kinds": sorted(kinds)} if kinds else {}
    inputs = package_inputs()
    if is_current(out, recipe=recipe, inputs=inputs) and images_are_there(out):
        return False
    with whole_folder(out, stage=STAGE) as folder:
        test = load_questions("test", None if images is None else -(-images // 4), kinds)
        train = load_questions("train", images, kinds)
        write_test(folder, test, seed)
        known = write_train(folder, train, test, shares, seed)
        write_truth(folder / "truth.parquet", known)
        files = sorted((folder / "images").rglob("*.*"))
        write_manifest(
            folder,
            stage=STAGE,
            recipe=recipe,
            inputs=inputs,
            outputs=[folder / name for name in TABLES],
            counts={
                "train_questions": len(train),
                "test_questions": len(test),
                "images": len(files),
                "defects": Counter(row.defect for row in known),
            },
            seconds={"total": time.monotonic() - started},
            seeds={"seed": seed},
            extra={"images_digest": digest_of([[str(f.relative_to(folder)), sha256_file(f)] for f in files])},
        )
    return True


def images_are_there(out: Path) -> bool:
    """Whether the image files of a finished folder are all still there."""
    expected = read_manifest(out, finish_with="").get("counts", {}).get("images")
    return bool(sum(1 for _ in (out / "images").rglob("*.*")) == expected)


def write_test(folder: Path, questions: Sequence[Question], seed: int) -> None:
    """``test.jsonl``, ``test_captions.jsonl`` and ``images/test``: the package's test split as it is."""
    paths, grouped = image_paths("test"), by_image(questions)
    (folder / "images/test").mkdir(parents=True)
    for image_id in track(grouped, "test images", total=len(grouped)):
        (folder / f"images/test/{image_id}.png").write_bytes(paths[image_id].read_bytes())
    write_lines(folder / "test.jsonl", (to_sample(original(question, "test"), "test") for question in questions))
    captions = caption_samples(grouped, "test", random.Random(f"{seed}/test captions"))
    write_lines(folder / "test_captions.jsonl", captions)


def write_truth(path: Path, known: Sequence[Truth]) -> None:
    """The truth as a table: sample_id, defect, detail (JSON), twin_id (null where there is none)."""
    columns = ("sample_id", "defect", "detail", "twin_id")
    schema = pa.schema([(name, pa.string()) for name in columns])
    pq.write_table(pa.Table.from_pylist([asdict(row) for row in known], schema=schema), path)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("data/raw/demo"),
    images: Annotated[
        int | None,
        typer.Option(
            min=defects.MINIMUM_IMAGES, help="Only the first N train images, and N/4 test images. [default: all]"
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the defects; the same seed gives the same bytes.")] = SEED,
) -> None:
    """Write easy-vqa (4,000 + 1,000 images, 48k questions) with seeded defects in its train split.

    Each image and each row has one defect at most. Shares, of the train images: 4% blurred (Gaussian,
    sigma 1.5-3 px), 5% also there as a re-encoded or resized copy whose questions are repeated, 2% each
    truncated, empty, HTML named .png, JPEG named .png, missing. 4% of the test images are leaked into
    train with their questions. Of the train questions 3% get a wrong answer of the right type, and 2% a
    second row that contradicts them.

    truth.parquet names every affected row. The test split is untouched. Needs the package `easy-vqa`.
    A folder that is current is left alone.

    Example: python -m winnow.demo.dataset --images 200 --out /tmp/small-demo
    """
    written = make_dataset(out, images=images, seed=seed)
    if not written:
        print(f"{out}: is current, nothing to do")
        return
    counts = read_manifest(out, finish_with="")["counts"]
    found = ", ".join(f"{defect} {number:,}" for defect, number in counts["defects"].items())
    print(f"{out}: {counts['images']:,} image files; affected rows: {found}")


if __name__ == "__main__":
    console.run(app)
