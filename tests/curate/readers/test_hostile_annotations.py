"""Mutated files: a bad row costs that row, a broken document is one sentence; nothing crashes."""

import copy
import json
import random

import pytest

from curate.readers import detect, open_source
from curate.settings.sources import SourceSettings
from tests.curate.readers import published
from winnow.errors import UserError
from winnow.rows.records import BadRow, Sample, to_line

MAKERS = {
    "vqa": published.vqa_v2,
    "ok_vqa": published.ok_vqa,
    "textvqa": published.textvqa,
    "vizwiz": published.vizwiz,
    "gqa": published.gqa,
    "docvqa": published.docvqa,
    "infographicvqa": published.infographicvqa,
    "chartqa": lambda folder: published.chartqa(folder) / "val_human.json",
    "scienceqa": published.scienceqa,
    "pope": published.pope,
}
STRANGE = [
    None, True, 0, -1, 1.5, 10**30, "", " ", "\0", "../../x", "/etc/passwd", "é\u2028", [], {}, [[]], [None], [{}],
    {"answer": 1}, [{"answer": None}], "x" * 5000,
]  # fmt: skip


def nodes(value, path=()):
    """Paths of everything below a JSON value."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += nodes(item, (*path, key))
    return found


def changed(document, dice):
    """A copy with one to three nodes replaced, removed or doubled."""
    document = copy.deepcopy(document)
    for _ in range(dice.randint(1, 3)):
        path = dice.choice(nodes(document))
        if not path:
            continue
        parent = document
        for key in path[:-1]:
            parent = parent[key]
        action = dice.randrange(4)
        if action == 0:
            del parent[path[-1]]
        elif action == 1 and isinstance(parent, list):
            parent.insert(path[-1], copy.deepcopy(parent[path[-1]]))
        else:
            parent[path[-1]] = copy.deepcopy(dice.choice(STRANGE))
    return document


def read(path, layout):
    """Rows, or the sentence that says why there are none."""
    try:
        rows = list(open_source(SourceSettings(location=str(path), layout=layout)).rows())
    except UserError as error:
        assert str(path.parent) in str(error)
        assert "\n" not in str(error)
        return str(error)
    for row in rows:
        if isinstance(row, Sample):
            assert json.loads(to_line(row).encode())
        else:
            assert row.where
            assert row.reason
    return rows


def layout_of(name):
    return {"ok_vqa": "vqa", "infographicvqa": "docvqa"}.get(name, name)


def original(tmp_path, name):
    path = MAKERS[name](tmp_path / "original")
    return path, path.read_bytes()


def copies(tmp_path, path, count):
    """A fresh copy of the whole folder for each try: names decide which files belong together."""
    others = [(other.name, other.read_bytes()) for other in path.parent.iterdir() if other.is_file()]
    for number in range(count):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in others:
            (folder / name).write_bytes(content)
        yield number, folder / path.name


@pytest.mark.parametrize("name", MAKERS)
def test_strange_values_cost_their_row(tmp_path, name):
    path, content = original(tmp_path, name)
    lines = name == "pope"
    document = [json.loads(line) for line in content.splitlines()] if lines else json.loads(content)
    for number, mutated in copies(tmp_path, path, 120):
        value = changed(document, random.Random(f"{name}{number}"))
        text = "\n".join(map(json.dumps, value)) if lines and isinstance(value, list) else json.dumps(value)
        mutated.write_text(text)
        read(mutated, layout_of(name))
        try:
            detect(str(mutated))
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("name", MAKERS)
def test_strange_bytes_are_a_sentence_with_a_place_or_bad_rows(tmp_path, name):
    path, content = original(tmp_path, name)
    for number, mutated in copies(tmp_path, path, 120):
        dice = random.Random(f"{name}{number}")
        changed_bytes = bytearray(content)
        for _ in range(dice.randint(1, 3)):
            at = dice.randrange(len(changed_bytes) + 1)
            changed_bytes[at : at + dice.randint(0, 5)] = dice.randbytes(dice.randint(0, 5))
        mutated.write_bytes(changed_bytes[: dice.randint(1, len(changed_bytes))] if number % 3 == 0 else changed_bytes)
        read(mutated, layout_of(name))
        read(mutated, None)


@pytest.mark.parametrize("name", ["vqa", "ok_vqa"])
def test_strange_annotations_cost_their_rows(tmp_path, name):
    path, _ = original(tmp_path, name)
    partner = path.name.replace("OpenEnded_", "").replace("questions", "annotations")
    document = json.loads((path.parent / partner).read_text())
    for number, mutated in copies(tmp_path, path, 120):
        changed_document = changed(document, random.Random(f"{name}{number}"))
        (mutated.parent / partner).write_text(json.dumps(changed_document))
        read(mutated, "vqa")


def test_a_row_of_a_published_file_costs_itself_only(tmp_path):
    rows = [published.VIZWIZ_ROW, {"image": "b.jpg"}, 7, {**published.VIZWIZ_ROW, "answers": [1, None]}]
    path = published.vizwiz(tmp_path, rows=[*rows, {**published.VIZWIZ_ROW, "image": "VizWiz_val_00000009.jpg"}])
    good, silent, number, odd, last = read(path, "vizwiz")
    assert isinstance(good, Sample)
    assert isinstance(last, Sample)
    assert [(row.reason, row.position) for row in (silent, number, odd)] == [
        ("no text 'question'", 1),
        ("not a JSON object", 2),
        ("an answer is neither a text nor a number", 3),
    ]
    assert silent.where == f"{path}: row 2"


def test_a_cut_file_says_where_it_breaks(tmp_path):
    path = published.vqa_v2(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-60])
    said = read(path, "vqa")
    assert f"{path}: broken at byte {len(whole) - 60:,}" in said
    assert "fetch the file again" in said


def test_two_layouts_or_none_is_a_sentence(tmp_path):
    assert "has no 'questions'" in read(published.gqa(tmp_path / "g"), "vqa")
    assert "not one JSON object" in read(published.vizwiz(tmp_path / "w"), "docvqa")
    rows = read(published.pope(tmp_path / "p"), "chartqa")
    assert all(isinstance(row, BadRow) for row in rows)
