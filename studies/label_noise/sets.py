"""The sets of the study: rows with people's labels, with right ones, and what Winnow's curation leaves of the first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.measure.set_embeddings import read_embeddings
from curate.pipeline import run
from curate.recipe import CurateRecipe
from curate.workspace import Workspace, copy_measurements
from studies.label_noise.cifar import CLASSES, LEVELS, Cifar
from studies.label_noise.questions import KINDS, rows_of
from winnow.files import write_text


@dataclass(frozen=True)
class Part:
    """Pictures that belong together; thresholds are chosen on one part and reported on another.

    Attributes:
        train: numbers of training pictures, in the order of the labels.
        test: numbers of the test pictures of each class.
    """

    name: str
    train: range
    test: range


TUNING = Part("tuning", range(3_000), range(900, 1_000))
REPORT = Part("report", range(10_000, 14_000), range(200))


@dataclass(frozen=True)
class Row:
    """What is asked about a picture and answered."""

    id: str
    picture: int
    kind: str
    question: str
    answer: str


@dataclass(frozen=True, eq=False)
class Sets:
    """The files and rows of a part; one object is one part, also as a key.

    Attributes:
        given: level → rows with people's labels.
        right: level → the same questions with right answers.
        test: questions about test pictures; their answers are right.
        vectors: picture → (1280,) features; training pictures by their number, test pictures by -1 - number.
        folders: level → what curation made of ``given``.
    """

    given: dict[str, list[Row]]
    right: dict[str, list[Row]]
    test: list[Row]
    vectors: dict[int, NDArray[np.float32]]
    folders: dict[str, Path]

    def wrong(self, level: str) -> NDArray[np.bool_]:
        """Whether the answer of each given row is wrong."""
        return np.array(
            [one.answer != other.answer for one, other in zip(self.given[level], self.right[level], strict=True)]
        )


def make_sets(data: Cifar, part: Part, cache: Path, rules: dict[str, Any]) -> Sets:
    """Write the rows of a part, curate those with people's labels, and read the features that curation measured.

    Args:
        rules: of the curation recipe.

    Raises:
        UserError: a curation failed.
    """
    numbers = np.array(part.train)
    root = data.folder.resolve()
    pictures = [data.train[number].relative_to(data.folder) for number in part.train]
    clean = data.clean[numbers]
    given: dict[str, list[Row]] = {}
    right: dict[str, list[Row]] = {}
    folders: dict[str, Path] = {}
    for level in LEVELS:
        named = data.given[level][numbers]
        files = {}
        for what, answered in (("given", named), ("right", clean)):
            rows = list(
                rows_of(
                    pictures, part.train, named, clean, answered, source="cifar", seed=0, kinds=[KINDS] * len(pictures)
                )
            )
            files[what] = write_rows(cache / f"{level}-{what}.jsonl", rows)
            (given if what == "given" else right)[level] = [_row(row, number) for row, number in _numbered(rows)]
        folders[level] = cache / f"{level}-curated"
        first = folders[next(iter(LEVELS))]
        if folders[level] != first and not folders[level].exists():
            copy_measurements(Workspace(first), Workspace(folders[level]))
        recipe = {
            "name": level,
            "out": str(folders[level]),
            "sources": [{"location": str(files["given"]), "layout": "conversations", "image_root": str(root)}],
            "signals": {"embedding": "efficientnet-lite0", "workers": 1},
            "answers": {},
            "rules": rules,
        }
        run(CurateRecipe.model_validate(recipe), level)
    tests = np.concatenate([1000 * label + np.array(part.test) for label in range(len(CLASSES))])
    shown = [data.test[number].relative_to(data.folder) for number in tests]
    labels = data.test_labels[tests]
    asked = list(
        rows_of(shown, tests.tolist(), labels, labels, labels, source="test", seed=1, kinds=[KINDS] * len(tests))
    )
    write_rows(cache / "test.jsonl", asked)
    vectors = features_of(
        folders[next(iter(LEVELS))], {str(path): at for path, at in zip(pictures, part.train, strict=True)}
    )
    embedded = _embedded(cache / "test-features.npz", [data.folder / path for path in shown])
    vectors |= {-1 - int(number): vector for number, vector in zip(tests, embedded, strict=True)}
    return Sets(given, right, [_row(row, -1 - number) for row, number in _numbered(asked)], vectors, folders)


def _numbered(rows: Iterable[dict[str, Any]]) -> Iterable[tuple[dict[str, Any], int]]:
    return ((row, int(row["id"].split("/")[2])) for row in rows)


def _row(row: dict[str, Any], picture: int) -> Row:
    question = row["conversations"][0]["value"].removeprefix("<image>\n")
    return Row(row["id"], picture, row["meta"]["question_type"], question, row["answers"][0])


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write JSON lines, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
    return path


def features_of(folder: Path, numbers: dict[str, int]) -> dict[int, NDArray[np.float32]]:
    """The features of the pictures of a curated folder, by the numbers of their paths."""
    workspace = Workspace(folder)
    embeddings = read_embeddings(workspace)
    assert embeddings is not None
    keys = [
        key for part in workspace.image_parts() for key in pq.read_table(part, columns=["image_key"])[0].to_pylist()
    ]
    paths = pq.read_table(workspace.paths, columns=["path", "image_key"]).to_pylist()
    place = {key: at for at, key in enumerate(keys)}
    return {numbers[row["path"]]: embeddings.of(np.array([place[row["image_key"]]]))[0] for row in paths}


def _embedded(path: Path, pictures: Sequence[Path]) -> NDArray[np.float32]:
    """The features of pictures, from ``path`` if they are there."""
    if not path.is_file():
        from PIL import Image

        from curate.signals.efficientnet import embed
        from winnow.files import atomic_path
        from winnow.progress import track

        found = [
            embed(Image.open(one).convert("RGB"))["embedding"]
            for one in track(pictures, "test pictures", len(pictures))
        ]
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, values=np.stack(found))
    with np.load(path, allow_pickle=False) as stored:
        return np.asarray(stored["values"], np.float32)


def decisions(folder: Path) -> dict[str, bool]:
    """Row id → whether curation kept it."""
    rows = pq.read_table(folder / "decisions.parquet", columns=["sample_id", "decision"]).to_pylist()
    return {row["sample_id"]: row["decision"] != "drop" for row in rows}


def suspects(folder: Path) -> dict[str, float]:
    """Row id → ``suspect``, of the rows that have one."""
    rows = pq.read_table(Workspace(folder).answers, columns=["sample_id", "suspect"]).to_pylist()
    return {row["sample_id"]: row["suspect"] for row in rows}
