"""A curation that kept no row is an error that names the likeliest cause."""

import pytest

from curate.pipeline import run as curate
from curate.report.nothing_kept import why_nothing_is_kept
from tests.curate import sets
from tests.curate.test_curate_cli import curate as command
from winnow.run import read_manifest

DROP_ALL = {"unreadable": {"when": "error IS NOT NULL", "action": "drop"}}


def made(folder, rows, **changes):
    (folder / "images").mkdir(exist_ok=True)
    sets.write_lines(folder / "rows.jsonl", rows)
    return sets.write_recipe(folder, **changes), sets.recipe(folder, **changes)


@pytest.mark.parametrize(
    ("rows", "rules", "says"),
    [
        (
            [sets.row(1, None), sets.row(2, None)],
            {"all": {"when": "true", "action": "drop"}},
            "rule 'all' took 2 of them",
        ),
        (
            [sets.row(n, f"else/{n}.png") for n in range(3)],
            DROP_ALL,
            "3 of 3 images: 'missing', such as images/else/0.png (found as 0.png in images/far/); set `image_root:`",
        ),
        (["{broken", "{too"], DROP_ALL, "2 of 2 rows could not be read, the first: "),
    ],
)
def test_the_likeliest_cause_is_named(tmp_path, capsys, monkeypatch, rows, rules, says):
    layout = [{"location": str(tmp_path / "rows.jsonl"), "image_root": str(tmp_path), "layout": "conversations"}]
    rows = [
        {**row, "image": f"images/{row['image']}"} if isinstance(row, dict) and "image" in row else row for row in rows
    ]
    path, _ = made(tmp_path, rows, rules=rules, sources=layout)
    for name in "01":
        sets.save(tmp_path / f"images/far/{name}.png", sets.scene(1))
    for _ in range(2):  # the second finds everything up to date
        code, out, err = command(capsys, monkeypatch, "run", path)
        assert code == 1 and f"kept none of {len(rows)} rows" in err and says in err
    assert f"dropped {len(rows)} of {len(rows)} rows" in out
    found = read_manifest(tmp_path / "out", finish_with="")["counts"]["image_errors"]
    assert [(each["error"], each["images"]) for each in found] in ([], [("missing", 2), ("missing", 1)])
    assert (tmp_path / "out/samples.jsonl").read_text() == ""
    assert (tmp_path / "out/manifest.json").is_file()
    assert command(capsys, monkeypatch, "decide", path)[0] == 1


def test_one_kept_or_flagged_row_is_no_error(tmp_path):
    rules = {"odd": {"when": "true", "action": "flag"}}
    _, recipe = made(tmp_path, [sets.row(1, None)], rules=rules)
    assert why_nothing_is_kept(curate(recipe, "r").counts) is None


def test_a_rule_that_drops_most_rows_and_rows_that_cannot_be_read_are_named(tmp_path, capsys, monkeypatch):
    rules = {
        "long": {"when": "question <> 'q'", "action": "drop"},
        "unreadable": {"when": "error IS NOT NULL", "action": "drop"},
    }
    rows = [sets.row(1, None, "q"), *(sets.row(n, None, f"What is {n}?") for n in range(2, 6)), "{broken"]
    path, _ = made(tmp_path, rows, rules=rules)
    code, out, _ = command(capsys, monkeypatch, "run", path)
    assert code == 0
    assert f"rule long dropped 4 of 6 rows; to keep them, set its action to flag in {path} and decide again" in out
    assert f"rows: 1 unreadable, such as {tmp_path}/rows.jsonl:6: " in out
    assert "- rows: 1 unreadable, such as" in (tmp_path / "out/README.md").read_text()
