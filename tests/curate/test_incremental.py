"""A curation after edits of its sources: every file is the one that a curation from scratch makes."""

import hashlib
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import pipeline
from curate.readers import ranges
from curate.workspace import Workspace
from tests.curate import sets

NAMES = ("a", "b", "c")


@pytest.fixture(autouse=True)
def short_ranges(monkeypatch):
    monkeypatch.setattr(ranges, "LEAST_ROWS", 3)
    monkeypatch.setattr(ranges, "MOST_ROWS", 8)


def made(chance):
    """A line: a row, mostly; one without an id, one that cannot be read, or a blank one."""
    number, image = chance.randrange(10**6), f"{chance.choice(NAMES)}.png"
    question = chance.choice(["What is it?", "Who is there!", f"Number {number}?"])
    kinds = [
        sets.row(number, image, question),
        sets.row(number, image, question, "a dog", meta={"score": number / 7}),
        {"image": "a.png", "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": "no id"}]},
        sets.row(number, None, question),
        {"id": number, "conversations": [{"from": "user", "value": 3}]},
    ]
    return chance.choice([*map(json.dumps, kinds), json.dumps(kinds[0]), "{broken", ""])


def write(folder, files, kind):
    for path in folder.glob("part-*"):
        path.unlink()
    for name, lines in files.items():
        if kind == "jsonl":
            (folder / f"part-{name}.jsonl").write_text("\n".join(lines))
            continue
        rows = [{"question": line, "image": f"{NAMES[len(line) % 3]}.png", "answer": "yes"} for line in lines]
        if kind == "parquet":
            table = pa.Table.from_pylist(
                rows, pa.schema([(key, pa.string()) for key in ("question", "image", "answer")])
            )
            pq.write_table(table, folder / f"part-{name}.parquet", row_group_size=5)
        else:
            quoted = ((value.replace('"', '""') for value in row.values()) for row in rows)
            text = "".join(",".join(f'"{value}"' for value in row) + "\r\n" for row in quoted)
            (folder / f"part-{name}.csv").write_text(f"question,image,answer\r\n{text}", newline="")


def edited(files, chance):
    """One edit: of a line, or of a whole file."""
    files = {name: list(lines) for name, lines in files.items()}
    name = chance.choice(sorted(files))
    lines, place = files[name], chance.randrange(len(files[name]) or 1)
    match chance.choice(["append", "insert", "change", "remove", "add file", "remove file"]):
        case "append":
            lines.append(made(chance))
        case "insert":
            lines.insert(place, made(chance))
        case "change":
            lines[place : place + 1] = [made(chance)]
        case "remove":
            del lines[place]
        case "add file":
            files[str(chance.randrange(10))] = [made(chance) for _ in range(9)]
        case _ if len(files) > 1:
            del files[name]
    return files


def outputs(folder):
    """The digest of every file that a run leaves for others, and of the parts of rows and texts."""
    space = Workspace(folder)
    found = [path for path in folder.iterdir() if path.is_file() and path.name not in ("manifest.json", "README.md")]
    found += [*space.rows.files(), *space.corrected.files(), *space.text.files(), space.paths]
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
    manifest = json.loads(space.manifest.read_text())
    return digests, space.rows.names(), manifest["counts"], manifest["inputs"]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_after_each_edit_the_files_are_those_of_a_run_from_scratch(tmp_path, kind, seed):
    for number, name in enumerate(NAMES):
        sets.save(tmp_path / f"images/{name}.png", sets.scene(number))
    chance = random.Random(seed)
    files = {name: [made(chance) for _ in range(chance.randrange(12, 30))] for name in ("0", "1")}
    source = {"location": str(tmp_path / f"part-*.{kind}"), "image_root": str(tmp_path / "images")}
    sets.write_lines(tmp_path / "held.jsonl", [sets.row(1, "b.png"), sets.row(2, None, "Who is there!")])
    held = {"location": str(tmp_path / "held.jsonl"), "image_root": str(tmp_path / "images")}
    compared = {"contamination": {"against": [held]}, "similar_texts": {"of": ["question", "row"], "min_words": 2}}
    for step in range(3):
        write(tmp_path, files, kind)
        for out in ("grown", f"fresh-{step}"):
            recipe = sets.recipe(tmp_path, sources=[source], out=str(tmp_path / out), duplicates={}, **compared)
            pipeline.run(recipe, "recipe.yaml")
        assert outputs(tmp_path / "grown") == outputs(tmp_path / f"fresh-{step}")
        files = edited(files, chance)


def test_an_added_row_makes_its_own_range_alone(tmp_path):
    sets.save(tmp_path / "images/a.png", sets.scene(1))
    lines = [json.dumps(sets.row(number, "a.png")) for number in range(60)]
    path, space = tmp_path / "rows.jsonl", Workspace(tmp_path / "out")
    tables = (space.rows, space.corrected, space.text)
    sets.write_lines(path, lines)
    pipeline.run(sets.recipe(tmp_path), "recipe.yaml")
    before = [table.names() for table in tables]
    assert len(before[0]) > 5
    for changed in ([*lines, lines[0].replace("/0", "/new")], [lines[0].replace("/0", "/new"), *lines]):
        sets.write_lines(path, changed)
        pipeline.run(sets.recipe(tmp_path), "recipe.yaml")
        for table, names in zip(tables, before, strict=True):
            assert len({*table.names()} - {*names}) <= 2, "the range that it is in, and perhaps one cut off it"
