"""A folder that was curated again after every kind of edit holds what a first run on the same input writes."""

import json
import os
import random
import shutil

import pytest

from curate import pipeline, row_blocks
from curate.readers import ranges
from curate.report import results, summaries
from curate.rules import decisions
from curate.workspace import Workspace
from tests.curate import sets
from winnow.parquet import block_files, table_parts, tables

_SMALL = 4  # rows of a block
_IMAGES = 7
_QUESTIONS = ("What is it?", "Is it red?", "How many!")
_RULES = {
    "unreadable": {"when": "error IS NOT NULL", "action": "drop"},
    "soft": {"when": "sharpness < quantile(sharpness, 0.3)", "action": "flag"},
    "shouting": {"when": "question LIKE '%!%'", "action": "drop"},
    "refusal": {"when": "refusal", "action": "flag"},
    "twice": {"keep": "at most 6 BY question", "action": "flag"},
}


class Input:
    """A set on disk, its recipe and random edits of them."""

    def __init__(self, folder, seed):
        self.folder, self.chance, self.made = folder, random.Random(seed), 0
        self.lines, self.fixes = [], []
        self.recipe = {"rules": _RULES, "duplicates": {}, "seed": 0, "splits": {"train": 0.7, "val": 0.3}}
        for number in range(_IMAGES):
            self.draw(number)
        self.add(11)
        self.write()

    def draw(self, number):
        """Some images are copies of another one."""
        seed = self.chance.choice([number, number, 100 + number, 0])
        sets.save(self.folder / f"images/{number}.png", sets.scene(seed), compress_level=1 + seed % 5)

    def add(self, count=None):
        for _ in range(count or self.chance.choice([1, 1, 3, 9])):
            image = self.chance.choice([f"{self.chance.randrange(_IMAGES)}.png"] * 9 + [None, "gone.png"])
            answer = self.chance.choice(["a cat", "a dog", "I'm sorry, I cannot help with that."])
            record = sets.row(self.made, image, self.chance.choice(_QUESTIONS), answer)
            line = record if self.chance.random() < 0.95 else "no JSON"
            self.lines.insert(self.chance.choice([len(self.lines), self.chance.randint(0, len(self.lines))]), line)
            self.made += 1

    def remove(self):
        for _ in range(min(len(self.lines) - 1, self.chance.choice([1, 5]))):
            self.lines.pop(self.chance.randrange(len(self.lines)))

    def change_rows(self):
        for line in self.chance.sample(self.lines, min(2, len(self.lines))):
            if isinstance(line, dict):
                line["conversations"][0]["value"] = self.chance.choice(_QUESTIONS)

    def change_image(self):
        self.draw(self.chance.randrange(_IMAGES))

    def change_rules(self):
        name = self.chance.choice(list(_RULES))
        action = self.chance.choice(["drop", "flag"])
        self.recipe["rules"] = {**self.recipe["rules"], name: {**_RULES[name], "action": action}}

    def change_recipe(self):
        change = self.chance.choice(
            [{"seed": self.chance.randrange(9)}, {"splits": None}, {"splits": {"train": 0.5, "val": 0.5}},
             {"duplicates": {"scope": "image"}}, {"duplicates": {}}, {"duplicates": None}]
        )  # fmt: skip
        self.recipe = {**self.recipe, **change}

    def correct(self):
        stored = stored_rows(self.folder / "out")
        row = self.chance.choice(stored)
        action = self.chance.choice(["keep", "drop", "relabel"])
        new = "a hat" if action == "relabel" else None
        self.fixes.append(
            {
                "correction_id": f"c{len(self.fixes)}", "sample_id": row["sample_id"],
                "content_hash": row["content_hash"], "field": "answer" if new else "decision",
                "old": row["answer"] if new else None, "new": new, "action": action, "tags": [], "note": "",
                "reviewer": "ann", "at": f"2025-01-01T00:00:{len(self.fixes):02}Z", "run": "",
            }
        )  # fmt: skip

    def write(self):
        sets.write_lines(self.folder / "rows.jsonl", self.lines)
        sets.write_lines(self.folder / "fixes/ann.jsonl", self.fixes)

    def run(self):
        recipe = sets.recipe(self.folder, **self.recipe, corrections=str(self.folder / "fixes"))
        pipeline.run(recipe, "recipe.yaml")
        out = self.folder / "out"
        found = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
        manifest = json.loads(found.pop("manifest.json"))
        measured = {name for name in manifest["outputs"] if name.startswith("signals/")}  # cut as they were measured
        of_outputs = {
            key: {name: made for name, made in manifest[key].items() if name not in measured}
            for key in ("outputs", "output_bytes")
        }
        return found | {"manifest": {**manifest, "seconds": None, **of_outputs}}


def stored_rows(out):
    return [row for batch in tables.read_batches(out / "samples.parquet") for row in batch.to_pylist()]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    for module in (tables, table_parts, row_blocks, decisions, results, summaries):
        monkeypatch.setattr(module, "ROWS_A_GROUP", _SMALL)
    monkeypatch.setattr(decisions, "_GROUPS_AT_ONCE", 3)
    monkeypatch.setattr(ranges, "LEAST_ROWS", 2)
    monkeypatch.setattr(ranges, "MOST_ROWS", _SMALL)


@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))])
def test_edits_between_runs_end_like_a_first_run(tmp_path, seed):
    given = Input(tmp_path, seed)
    given.run()
    edits = [given.add, given.remove, given.change_rows, given.change_image, given.change_rules, given.change_recipe]
    for _ in range(4):
        for edit in given.chance.sample([*edits, given.correct], given.chance.choice([1, 1, 2])):
            edit()
        given.write()
        grown = given.run()
        (tmp_path / "out").rename(tmp_path / "grown")
        fresh = given.run()
        assert {name for name in fresh if fresh[name] != grown.get(name)} == set() and fresh.keys() == grown.keys()
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "grown").rename(tmp_path / "out")


def test_one_row_more_makes_the_last_blocks_anew(tmp_path, monkeypatch):
    given = Input(tmp_path, 5)
    given.recipe["rules"] = {name: _RULES[name] for name in ("unreadable", "shouting", "refusal")}
    given.add(30)
    given.write()
    given.run()
    made = {"encoded": [], "blocks": [], "lines": []}
    encode, block, part = block_files.TableFile.encoded, results._Reader.block, results._Reader.part
    monkeypatch.setattr(block_files.TableFile, "encoded", lambda *got: made["encoded"].append(got) or encode(*got))
    monkeypatch.setattr(results._Reader, "block", lambda *got: made["blocks"].append(got[1]) or block(*got))
    monkeypatch.setattr(results._Reader, "part", lambda *got: made["lines"].append(got[1]) or part(*got))
    given.lines.append(sets.row("last", "1.png", "Where?", "there"))
    given.write()
    given.run()
    last = (len(given.lines) - 1) // _SMALL
    assert made["blocks"] and set(made["blocks"]) <= {last - 1, last}
    assert len(made["encoded"]) == 2 * len(made["blocks"]), "decisions.parquet and samples.parquet"
    parts = len(Workspace(tmp_path / "out").corrected.names())
    assert made["lines"] and set(made["lines"]) <= {parts - 2, parts - 1}
    for names in made.values():
        names.clear()
    given.recipe["rules"]["shouting"] = {"when": "question LIKE '%?%'", "action": "drop"}
    given.run()
    assert len(made["blocks"]) == (len(given.lines) - 1) // _SMALL + 1


def test_lines_are_copied_wherever_they_move_to(tmp_path, monkeypatch):
    sets.save(tmp_path / "images/a.png", sets.scene(1))
    rows = [sets.row(number, "a.png", f"Number {number % 30}?", "yes") for number in range(60)]
    recipe = sets.recipe(tmp_path, duplicates={})
    sets.write_lines(tmp_path / "rows.jsonl", rows)
    pipeline.run(recipe, "recipe.yaml")
    made, part = [], results._Reader.part
    judged, lists = [], decisions._fired_lists
    monkeypatch.setattr(results._Reader, "part", lambda *got: made.append(got[1]) or part(*got))
    monkeypatch.setattr(decisions, "_fired_lists", lambda *got: judged.append(len(got[0])) or lists(*got))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row("first", "a.png", "Where?", "there"), *rows])
    pipeline.run(recipe, "recipe.yaml")
    assert made and len(made) <= 2 < len(Workspace(tmp_path / "out").corrected.names())
    assert 0 < sum(judged) <= 3 * _SMALL < len(rows), "rows that have only moved keep their decisions"


@pytest.mark.parametrize("name", ["samples.jsonl", "decisions.parquet"])
def test_damage_that_leaves_the_times_is_not_copied(tmp_path, name):
    sets.save(tmp_path / "images/a.png", sets.scene(1))
    rows = [sets.row(number, "a.png", f"Number {number}?", "yes") for number in range(60)]
    recipe = sets.recipe(tmp_path, rules={"late": {"when": "question > 'Number 5'", "action": "flag"}})
    sets.write_lines(tmp_path / "rows.jsonl", rows)
    pipeline.run(recipe, "recipe.yaml")
    path = tmp_path / "out" / name
    status, data = path.stat(), bytearray(path.read_bytes())
    data[20] ^= 1
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    sets.write_lines(tmp_path / "rows.jsonl", [*rows, sets.row("last", "a.png", "Where?", "there")])
    pipeline.run(recipe, "recipe.yaml")
    grown = [(tmp_path / "out" / each).read_bytes() for each in (name, "samples.parquet", "ledger.jsonl")]
    shutil.rmtree(tmp_path / "out")
    pipeline.run(recipe, "recipe.yaml")
    assert grown == [(tmp_path / "out" / each).read_bytes() for each in (name, "samples.parquet", "ledger.jsonl")]
