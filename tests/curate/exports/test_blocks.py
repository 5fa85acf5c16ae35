"""An export of a set of which a little has changed: the files of a first one, of which blocks are copied."""

import json
import random
import shutil

import pyarrow as pa
import pytest

from curate.exports import json_lines
from curate.exports.export import export
from curate.exports.rows import Curated
from curate.settings.outputs import ExportSettings
from curate.workspace import Workspace
from tests.curate import sets
from winnow.parquet import tables

TABLE = pa.schema(
    [
        ("position", pa.int64()),
        ("sample_id", pa.string()),
        ("images", pa.list_(pa.string())),
        ("image_keys", pa.list_(pa.string())),
        ("decision", pa.string()),
        ("assigned_split", pa.string()),
        ("record", pa.string()),
    ]
)
_8_MIB = json_lines._INFERRED_FROM


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(tables, "ROWS_A_GROUP", 4)


class Set:
    """A curated set as exports read it, and random edits of its rows."""

    def __init__(self, folder, seed):
        self.folder, self.chance, self.made = folder, random.Random(seed), 0
        sets.save(folder / "a.png", sets.scene(1))
        Workspace(folder).work.mkdir(parents=True)
        self.rows = []
        self.add(25)

    def add(self, count=1):
        for _ in range(count):
            self.made += 1
            images = self.chance.choice([[], ["a.png"], ["a.png"], ["a.png", None]])
            meta = self.chance.choice([{}, {"n": self.made}, {"tools": [{"name": "look"}]}, {"label": True}])
            meta = self.chance.choice([meta, meta, {"rejected": "a hat"}, {"videos": ["clip.mp4"]}])
            question = self.chance.choice(["What is it?", "Two <image> <image>?", "Who? ü"])
            row = sets.row(self.made, [path for path in images if path] or None, question, meta=meta)
            row["conversations"][0]["value"] += "<video>" * len(meta.get("videos", []))
            self.rows.insert(
                self.chance.choice([len(self.rows), self.chance.randint(0, len(self.rows))]), (row, images)
            )

    def remove(self):
        self.rows.pop(self.chance.randrange(len(self.rows)))

    def write(self, drop=""):
        table = []
        for position, (row, images) in enumerate(self.rows):
            number = int(row["id"].rpartition("/")[2])
            table.append(
                {
                    "position": position, "sample_id": row["id"], "images": [path or "gone.png" for path in images],
                    "image_keys": [path and "0" * 64 for path in images],
                    "decision": "drop" if drop and str(number)[-1] in drop else "keep",
                    "assigned_split": "val" if number % 5 == 0 else "train", "record": json.dumps(row),
                }
            )  # fmt: skip
        tables.write_parquet(Workspace(self.folder).samples_table, [pa.Table.from_pylist(table, TABLE)], TABLE)

    def export(self, to):
        curated = Curated(self.folder, "set", self.folder, splits=("train", "val"))
        done = export(curated, ExportSettings(to=to))
        files = (path for path in sorted(done.folder.rglob("*")) if path.is_file() and path.name != "manifest.json")
        return done, {str(path.relative_to(done.folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("to", "inferred_from"),
    [("jsonl", _8_MIB), ("llava", _8_MIB), ("ms-swift", 700), ("llama-factory", _8_MIB), ("trl", 700)],
)
def test_edits_between_exports_end_like_a_first_one(tmp_path, monkeypatch, to, inferred_from):
    monkeypatch.setattr(json_lines, "_INFERRED_FROM", inferred_from)
    given = Set(tmp_path, f"{to} {inferred_from}")
    given.write()
    given.export(to)
    for drop in ("", "3", "3", "37", ""):
        given.add(given.chance.choice([0, 1, 3]))
        given.chance.choice([given.remove, given.add])()
        given.write(drop)
        grown, files = given.export(to)
        shutil.rmtree(grown.folder)
        fresh, expected = given.export(to)
        assert files == expected
        assert grown.counts == fresh.counts


def test_what_has_not_changed_is_copied(tmp_path, monkeypatch):
    given = Set(tmp_path, 1)
    for row, _ in given.rows:
        row["meta"] = {}  # videos are looked for each time
        row["conversations"][0]["value"] = "What is it?"
    given.write()
    _, before = given.export("ms-swift")
    made, lines = [], json_lines._lines
    monkeypatch.setattr(json_lines, "_lines", lambda rows, *more: made.append(rows) or lines(rows, *more))
    given.rows.append((sets.row(99, None, "Last?"), []))
    given.write()
    _, after = given.export("ms-swift")
    assert len(made) == 1
    assert after["train.jsonl"].startswith(before["train.jsonl"])


@pytest.mark.parametrize("name", ["train.jsonl", "blocks.json"])
def test_what_is_damaged_is_made_again(tmp_path, name):
    given = Set(tmp_path, 2)
    given.write()
    done, _ = given.export("ms-swift")
    path = done.folder / name
    for at in range(0, path.stat().st_size, max(path.stat().st_size // 12, 1)):
        broken = bytearray(path.read_bytes())
        broken[at] ^= 4
        path.write_bytes(broken)
        given.add()
        given.write()
        done, files = given.export("ms-swift")
        shutil.rmtree(done.folder)
        done, expected = given.export("ms-swift")
        assert files == expected
