"""Selections are whole curated folders that hold the budget's first rows by a strategy."""

import json
from collections import Counter

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from curate.cli import app
from curate.pipeline import run
from curate.rules.columns import column_types
from curate.rules.explain import explain_row
from curate.selection.select import rows_wanted, select
from curate.selection.strategies import ordered
from curate.views import create_views
from curate.workspace import Workspace
from finetune.data.rows import locate_data
from tests.curate.sets import recipe, row, save, scene, write_lines
from winnow.errors import UserError
from winnow.parquet.tables import database, parquet


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """Eight pictures with two rows each, two answers, one dropped row; four pictures show one thing."""
    folder = tmp_path_factory.mktemp("set")
    for number in range(8):
        save(folder / "images" / f"{number}.png", scene(max(number - 3, 0), 64 + 4 * number))
    rows = [
        row(f"{number}-{turn}", f"{number}.png", f"What is it{'?!'[turn]}", "yes" if number < 6 else "no")
        for number in range(8) for turn in range(2)
    ]  # fmt: skip
    write_lines(folder / "rows.jsonl", [*rows, row("bad", "missing.png")])
    made = recipe(folder, signals={"workers": 1, "embedding": "efficientnet-lite0"})
    return run(made, "").workspace.folder


def taken(folder):
    return [json.loads(line)["id"].removeprefix("set/train/") for line in (folder / "samples.jsonl").open()]


def first(curated, strategy, *, seed=0, **options):
    """Ids of all kept rows in the order of a strategy."""
    space = Workspace(curated)
    with database(space.work) as connection:
        create_views(connection, space)
        connection.execute(f"CREATE VIEW decided AS SELECT * FROM {parquet([space.decisions])}")
        ids = dict(connection.execute("SELECT position, sample_id FROM rows").fetchall())
        order = ordered(connection, space, strategy, column_types(), seed, **options)
    return [ids[position].removeprefix("set/train/") for position in order.tolist()]


def test_a_selection_is_a_curated_folder_with_its_random_twin(curated, tmp_path):
    (folder, counts, was_there), (twin, others, _) = select(curated, "25%", "coverage", tmp_path / "part")
    assert (twin.name, was_there) == ("part-random", False)
    assert len(taken(folder)) == len(taken(twin)) == 4
    assert counts["keep"] + counts["flag"] == others["keep"] + others["flag"] == 4
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["selection"]["strategy"] == "coverage"
    assert json.loads((twin / "manifest.json").read_text())["selection"]["of"] == str(curated.resolve())
    table = pq.read_table(folder / "samples.parquet").to_pylist()
    assert Counter(one["reason"] for one in table if one["decision"] == "drop") == {"not_selected": 12, "unreadable": 1}
    ledger = [json.loads(line) for line in (folder / "ledger.jsonl").open()]
    assert {one["rules"][-1]["expression"] for one in ledger if one["reason"] == "not_selected"} == {
        "selected are 25% by coverage"
    }
    assert next(rule for rule in counts["rules"] if rule["rule"] == "not_selected")["reason"] == 12
    gone = next(one["sample_id"] for one in ledger if one["reason"] == "not_selected")
    assert explain_row(folder, gone).decision["reason"] == "not_selected"
    path, root = locate_data(folder, None)
    assert path == folder / "samples.jsonl"
    assert (root / "7.png").is_file()
    assert len(taken(curated)) == 16  # the set itself is as it was
    assert [found[2] for found in select(curated, "25%", "coverage", tmp_path / "part")] == [True, True]


def test_the_same_bytes_again_and_the_orders_first_rows(curated, tmp_path):
    one, two = (select(curated, "5", "facility", tmp_path / name / "part") for name in "ab")
    for (left, *_), (right, *_) in zip(one, two, strict=True):
        assert (left / "samples.jsonl").read_bytes() == (right / "samples.jsonl").read_bytes()
        assert (left / "decisions.parquet").read_bytes() == (right / "decisions.parquet").read_bytes()
    assert set(taken(one[0][0])) == set(first(curated, "facility")[:5])
    assert set(taken(one[1][0])) == set(first(curated, "random")[:5])


def test_strategies_take_what_they_say(curated):
    assert sorted(first(curated, "random")) == sorted(f"{number}-{turn}" for number in range(8) for turn in range(2))
    assert first(curated, "random") == first(curated, "random") != first(curated, "random", seed=1)
    pictures = [int(one[0]) for one in first(curated, "coverage")]
    assert len({max(one - 3, 0) for one in pictures[:5]}) == 5  # one of each thing; the first four show the same
    assert sorted(pictures[:8]) == list(range(8))
    assert sorted(one[0] for one in first(curated, "facility")[:8]) == list("01234567")
    assert Counter(one[0] >= "6" for one in first(curated, "balanced")[:6]) == {True: 3, False: 3}
    assert sorted(first(curated, "balanced", per="cluster")) == sorted(first(curated, "random"))
    assert {one[0] for one in first(curated, "quality", asked=["width"])[:4]} == {"6", "7"}
    assert {one[0] for one in first(curated, "quality", asked=["width ASC"])[:4]} == {"0", "1"}
    assert len(first(curated, "quality")) == 16


@pytest.mark.parametrize(
    ("budget", "kept", "rows"), [("20%", 10, 2), ("0.5%", 10, 1), ("100%", 7, 7), ("3", 3, 3), ("12.5%", 16, 2)]
)
def test_budgets(budget, kept, rows):
    assert rows_wanted(budget, kept) == rows


@pytest.mark.parametrize("budget", ["0%", "101%", "-1", "2.5", "11", "many", ""])
def test_no_budgets(budget):
    with pytest.raises(UserError, match="give a share such as 20%"):
        rows_wanted(budget, 10)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strategy": "coverag"}, "did you mean coverage"),
        ({"strategy": "loss"}, "no kept row has a value of 'train_loss'"),
        ({"strategy": "quality", "columns": ("width; DROP",)}, "is no column with numbers"),
        ({"strategy": "balanced", "per": "colour"}, "'colour' is no column"),
        ({"strategy": "random", "per": "answer"}, "leave it out with --by random"),
    ],
)
def test_what_cannot_be_done_is_said(curated, tmp_path, options, sentence):
    with pytest.raises(UserError, match=sentence):
        select(curated, "20%", out=tmp_path / "out", **options)


def test_another_folder_is_not_replaced(curated, tmp_path):
    with pytest.raises(UserError, match="exists and is no selection"):
        select(curated, "20%", "random", curated)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not a curated folder"):
        select(curated, "20%", "random", tmp_path)


def test_command(curated, tmp_path):
    (curated / "selections").mkdir()
    (curated / "selections" / "loss-20%.json").write_text(json.dumps({"sentence": "loss 20%: no better than random"}))
    done = CliRunner().invoke(
        app, ["select", str(curated), "--budget", "50%", "--by", "random", "-o", str(tmp_path / "a")]
    )
    assert done.exit_code == 0, done.output
    assert "8 rows" in done.output
    assert "loss 20%: no better than random" in done.output


@pytest.mark.slow
def test_a_selection_keeps_its_files_when_the_set_grows(tmp_path):
    """The copies are hard links; work/*.bin and values.f16 are appended to."""

    def grown(count):
        for number in range(count):
            save(tmp_path / "images" / f"{number}.png", scene(number))
        write_lines(tmp_path / "rows.jsonl", [row(number, f"{number}.png") for number in range(count)])
        looks = {"duplicates": {}, "semantic": {"cosine": 0.95}}
        made = recipe(tmp_path, **looks, signals={"workers": 1, "embedding": "efficientnet-lite0"})
        return run(made, "").workspace.folder

    source = grown(4)
    part = select(source, "2", "random", tmp_path / "part")[0][0]
    appended = sorted(file.relative_to(part) for file in part.rglob("*") if file.suffix in (".bin", ".f16"))
    assert {"facts.bin", "thumbnails.bin", "values.f16", "views.bin"} <= {file.name for file in appended}
    before = [(part / file).read_bytes() for file in appended]
    grown(6)
    assert [(part / file).read_bytes() for file in appended] == before
    assert all((source / file).stat().st_size > len(old) for file, old in zip(appended, before, strict=True))
