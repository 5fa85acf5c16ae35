"""Every list against the same rows picked with pandas."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from curate.pipeline import decide_again
from curate.recipe import CurateRecipe, Rule
from curate.workspace import Workspace
from dashboards.data.catalog import Folder, scan
from dashboards.data.duplicates import ORDERS, duplicate_kinds, leak_kinds
from dashboards.data.filters import FilterSpec
from dashboards.data.thresholds import thresholds
from dashboards.find.neighbors import nearest as nearest_images
from dashboards.review.entries import Entries
from dashboards.review.queues import LISTS, Queue, entries, queue_of
from dashboards.review.row import Reader
from dashboards.review.trained import training_rows
from tests.dashboards.curated import recipe


def _rows(root: Path, name: str, /, **parameters: str) -> list[int]:
    found = _entries(root, name, **parameters)
    assert len(set(zip(found.folder_of.tolist(), found.row_of.tolist(), strict=True))) == len(found), "a row twice"
    return found.row_of.tolist()


def _entries(root: Path, name: str, /, **parameters: str) -> Entries:
    queue = Queue(name, tuple(parameters.items()))
    assert Queue.from_parameter(queue.to_parameter()) == queue
    return entries(scan(root), queue)


def _table(root: Path, name: str) -> pd.DataFrame:
    return pd.read_parquet(root / "curated" / name).set_index("position", drop=False).rename_axis(None)


def _set(root: Path, name: str) -> Folder:
    found = scan(root).find("curated", name)
    assert found is not None
    return found


def test_rows_of_a_rule_come_with_those_that_it_dropped_first(data: Path) -> None:
    table = _table(data, "demo/decisions.parquet")
    for rule in ("blurry", "misaligned", "contaminated"):
        fired = [row for row in table.itertuples() if rule in [entry["rule"] for entry in row.rules]]
        expected = [row.position for row in fired if row.reason == rule]
        expected += [row.position for row in fired if row.reason != rule]
        assert _rows(data, "rule", set="demo", rule=rule) == expected and expected


def test_highest_losses_are_the_rows_of_the_set_that_was_learned(own: Path) -> None:
    chance = random.Random(3)
    ids = _table(own, "demo/samples.parquet")["sample_id"]
    lines = [
        {"sample_id": name, "source": source, "stage": 0, "epoch": epoch, "loss": chance.choice((0.5, 1.0, 2.0, 4.0)),
         "tokens": 2}
        for epoch in (0, 1)
        for name, source in [("not/in/the/set", "x"), *((name, chance.choice(("x", "y"))) for name in reversed(ids))]
    ]  # fmt: skip
    table = pd.DataFrame(lines)
    table.to_parquet(own / "runs" / "demo" / "losses.parquet")
    table["source"] = table.groupby("sample_id")["source"].transform("first")
    last = table.groupby("sample_id", sort=False).agg({"loss": "last", "source": "first"})
    expected = last.sort_values("loss", ascending=False, kind="stable")
    position = {name: place for place, name in ids.items()}
    assert _rows(own, "losses") == [position[name] for name in expected.index if name in position]
    manifest = own / "runs" / "demo" / "manifest.json"
    loaded = json.loads(manifest.read_text())
    loaded["recipe"]["data"] = "elsewhere/curated/demo"
    manifest.write_text(json.dumps(loaded))
    assert _rows(own, "losses", training="demo") == [position[name] for name in expected.index if name in position]
    found = _entries(own, "losses", source="no such source")
    assert not len(found) and "no such source" in found.problem


def test_losses_of_one_source(own: Path) -> None:
    ids = _table(own, "demo/samples.parquet")["sample_id"].tolist()
    table = pd.DataFrame(
        {"sample_id": ids, "source": ["x", "y"] * 30, "stage": 0, "epoch": 0, "loss": range(60), "tokens": 1}
    )
    table.to_parquet(own / "runs" / "demo" / "losses.parquet")
    assert _rows(own, "losses", source="y") == [position for position in range(59, -1, -1) if position % 2]


@pytest.mark.parametrize("number", [0.0, 40.0, 70.0, 73.5, 1000.0])
def test_a_moved_threshold_lists_what_deciding_anew_changes(number: float, small: Path, tmp_path: Path) -> None:
    threshold = thresholds(_set(small, "small"))[0]
    moved = recipe(small)
    changed = {**moved.rules, "blurry": Rule(when=threshold.moved(number), action="drop")}
    _compare(small, tmp_path, moved.model_copy(update={"rules": changed}), threshold.label, number)


@pytest.mark.parametrize("number", [-1.0, -0.5, 0.1, 0.2, 0.3])
def test_a_moved_flag_lists_what_deciding_anew_changes(number: float, small: Path, tmp_path: Path) -> None:
    threshold = next(found for found in thresholds(_set(small, "small")) if found.rule == "misaligned")
    moved = recipe(small)
    changed = {**moved.rules, "misaligned": Rule(when=threshold.moved(number), action="flag")}
    _compare(small, tmp_path, moved.model_copy(update={"rules": changed}), threshold.label, number)


def _compare(small: Path, tmp_path: Path, moved: CurateRecipe, label: str, number: float) -> None:
    shutil.copytree(small / "curated" / "small", tmp_path / "moved")
    decide_again(moved.model_copy(update={"out": tmp_path / "moved"}), "moved.yaml")
    before = _table(small, "small/decisions.parquet")["decision"]
    after = pd.read_parquet(tmp_path / "moved" / "decisions.parquet").set_index("position")["decision"]
    found = _rows(small, "threshold", set="small", threshold=label, value=repr(number))
    assert sorted(found) == before.index[before != after].tolist()


def test_the_rows_nearest_to_a_moved_threshold_come_first(small: Path) -> None:
    samples = _table(small, "small/samples.parquet")
    stored = pd.concat(map(pd.read_parquet, (small / "curated/small/signals").glob("part-*.parquet")))
    sharpness = stored.set_index("image_key")["sharpness"]
    found = _rows(small, "threshold", set="small", threshold="blurry: sharpness < 40", value="1000.0")
    away = [abs(sharpness[samples["image_keys"][row][0]] - 1000) for row in found]
    assert found and [(far, row) for far, row in zip(away, found, strict=True)] == sorted(zip(away, found, strict=True))


@pytest.mark.parametrize("order", ORDERS)
def test_duplicates_stand_beside_the_row_that_was_kept(small: Path, order: str) -> None:
    table = _table(small, "small/decisions.parquet")
    replaced = table[table["representative"].notna() & table["duplicate_group"].notna()]
    position = {name: place for place, name in table["sample_id"].items()}
    groups = table[table["duplicate_group"].isin(replaced["duplicate_group"])].groupby("duplicate_group")
    size, far = groups.size(), groups["duplicate_distance"].max()
    names = sorted(size.index, key=lambda name: (-(far[name] if order.startswith("Far") else size[name]), name))
    expected = []
    for name in names:
        of_group = replaced[replaced["duplicate_group"] == name]
        for head in sorted({position[kept] for kept in of_group["representative"]}):
            copies = of_group[of_group["representative"] == table["sample_id"][head]]
            expected += [head, *copies.sort_values(["duplicate_distance", "position"])["position"]]
    assert _rows(small, "duplicates", set="small", order=order) == expected and expected
    alone = _rows(small, "duplicates", set="small", group=names[0])
    assert alone == [row for row in expected if table["duplicate_group"][row] == names[0]]


def test_kinds_of_duplicates_are_read_from_the_set_where_it_has_them(small: Path, tmp_path: Path) -> None:
    assert duplicate_kinds(_set(small, "small")) == ["re-encoded"]
    assert _rows(small, "duplicates", set="small", kind="mirrored") == []
    shutil.copytree(small / "curated", tmp_path / "curated")
    path = tmp_path / "curated" / "small" / "decisions.parquet"
    table = pd.read_parquet(path)
    is_copy = table["representative"].notna()
    table["duplicate_kind"] = np.where(is_copy, np.where(table["position"] % 2 == 0, "mirrored", "cropped"), None)
    first, second = np.flatnonzero(~is_copy & table["duplicate_group"].isna())[:2]
    table["edited_copy_of"] = None
    table.loc[second, "duplicate_kind"], table.loc[second, "edited_copy_of"] = "framed", table["sample_id"][first]
    table.to_parquet(path)
    assert duplicate_kinds(_set(tmp_path, "small")) == ["cropped", "framed", "mirrored"]
    rows = _rows(tmp_path, "duplicates", set="small", kind="mirrored")
    copies = [row for row in rows if is_copy[row]]
    assert copies and copies == [
        row for row in _rows(small, "duplicates", set="small") if is_copy[row] and row % 2 == 0
    ]
    assert _rows(tmp_path, "duplicates", set="small", kind="framed") == [first, second], "flagged, not replaced"
    assert _rows(tmp_path, "duplicates", set="small") == _rows(small, "duplicates", set="small")


def test_leaks_ask_the_same_first(data: Path, small: Path) -> None:
    for root, name in ((data, "demo"), (small, "small")):
        table = _table(root, f"{name}/samples.parquet")
        position = {key: place for place, key in table["sample_id"].items()}
        leaks = pd.read_parquet(root / "curated" / name / "contamination.parquet")
        best = leaks.groupby("sample_id").agg({"same_question": "max", "distance": "min"})
        best["position"] = [position[key] for key in best.index]
        best = best.sort_values(["same_question", "distance", "position"], ascending=[False, True, True])
        assert _rows(root, "leaks", set=name) == best["position"].tolist()
        for kind in leak_kinds(_set(root, name)):
            column = leaks["kind" if "kind" in leaks else "match"]
            of_kind = {position[key] for key in leaks[column == kind]["sample_id"]}
            assert set(_rows(root, "leaks", set=name, kind=kind)) == of_kind and of_kind
        assert _rows(root, "leaks", set=name, kind="no such kind") == []


def test_suspects_are_the_kept_rows_by_alignment(small: Path) -> None:
    stored = pa.Table.from_batches(Workspace(small / "curated/small").text.batches())
    texts = stored.to_pandas().set_index("sample_id")["clip_alignment"]
    table = _table(small, "small/decisions.parquet")
    kept = table[table["decision"] != "drop"]
    values = [(texts[row.sample_id], row.position) for row in kept.itertuples() if np.isfinite(texts[row.sample_id])]
    assert _rows(small, "suspect", set="small") == [position for _, position in sorted(values)] and values


def test_suspects_are_ordered_by_their_score_and_say_why(small: Path, tmp_path: Path) -> None:
    root = tmp_path
    shutil.copytree(small / "curated", root / "curated")
    table = _table(root, "small/decisions.parquet")
    scores = np.round(np.random.default_rng(0).random(len(table)), 1)
    answers = pd.DataFrame({"position": table["position"], "suspect": scores, "suspect_why": "picture, model"})
    answers.loc[answers.index[:2], ["suspect_why"]] = None
    answers = answers.iloc[:-1]  # a row without any signal
    answers.to_parquet(root / "curated/small/answers.parquet")
    kept = answers[(table["decision"] != "drop").reindex(answers.index)]
    expected = kept.sort_values(["suspect", "position"], ascending=[False, True])["position"].tolist()
    found = _entries(root, "suspect", set="small")
    assert found.row_of.tolist() == expected and found.title.startswith("Most suspect")
    folder, catalog = _set(root, "small"), scan(root)
    rows = training_rows(catalog, folder, answers["position"].tolist(), Reader("ann", []))
    for position, row in rows.items():
        suspected = dict(row.facts or [])["suspect"]
        score = f"{answers['suspect'][position]:.2f}"
        assert suspected == (score if position < 2 else f"{score}, because of picture, model")


def test_nearest_rows_follow_the_nearest_images(small: Path) -> None:
    table = _table(small, "small/samples.parquet")
    row = table.iloc[0]
    folder = _set(small, "small")
    near = nearest_images(
        folder, row["image_keys"][0], row["question"], tuple(row["answers"]), of_training=True, count=24
    )
    expected = dict.fromkeys(known.sample_id for neighbor in near.neighbors for known in neighbor.rows)
    found = _rows(small, "nearest", set="small", id=row["sample_id"])
    assert [table["sample_id"][place] for place in found] == [name for name in expected if name != row["sample_id"]]
    assert found


def test_flips_and_slices_are_views_of_answers(data: Path) -> None:
    runs = {
        name: pd.read_parquet(data / "evals" / name / "predictions.parquet") for name in ("demo-tuned", "demo-base")
    }
    right = {name: table["status"].eq("ok") & table["accuracy_right"].eq(True) for name, table in runs.items()}
    judged = runs["demo-tuned"]["accuracy_right"].notna() | runs["demo-tuned"]["status"].ne("ok")
    before = runs["demo-base"]["accuracy_right"].notna() | runs["demo-base"]["status"].ne("ok")
    broken = ~right["demo-tuned"] & right["demo-base"] & judged
    fixed = right["demo-tuned"] & ~right["demo-base"] & before
    for outcome, expected in (("Broken", broken), ("Fixed", fixed)):
        found = _rows(data, "answers", run="demo-tuned", base="demo-base", outcome=outcome, sort="As stored")
        assert found == np.flatnonzero(expected).tolist()
    of_slice = _rows(data, "answers", run="demo-tuned", outcome="All", where="question_type=shape", sort="As stored")
    assert of_slice == np.flatnonzero(runs["demo-tuned"]["slice_question_type"] == "shape").tolist() and of_slice


def test_a_view_of_failures_is_the_same_as_a_queue(data: Path) -> None:
    spec = Queue.from_parameter("qt=shape&qt=color&outcome=Right&run=demo-base")
    view = FilterSpec.from_parameters(spec.values())
    assert entries(scan(data), queue_of(view)).row_of.tolist() == entries(scan(data), spec).row_of.tolist()
    assert queue_of(FilterSpec()).to_parameter() == ""


WRONG = [
    ("rule", {"set": "nope"}),
    ("rule", {"set": "demo", "rule": "nope"}),
    ("rule", {}),
    ("threshold", {"set": "demo", "threshold": "nope", "value": "3"}),
    ("threshold", {"set": "demo", "threshold": "blurry: sharpness < 35"}),
    ("duplicates", {"set": "../../etc"}),
    ("leaks", {"set": "nope"}),
    ("losses", {}),
    ("losses", {"training": "nope"}),
    ("suspect", {"set": "demo"}),
    ("nearest", {"id": "no such id"}),
    ("nearest", {"id": "easy_vqa/test/0", "set": "demo"}),
    ("assigned", {"name": "../secrets"}),
    ("conflicts", {}),
    ("conflicts", {"name": "nope"}),
    ("audit", {"run": "nope"}),
]


@pytest.mark.parametrize(("name", "parameters"), WRONG)
def test_what_is_not_there_is_an_empty_list_with_a_sentence(data: Path, name: str, parameters: dict[str, str]) -> None:
    found = _entries(data, name, **parameters)
    assert not len(found) and found.problem.endswith(".") and found.title


@pytest.mark.parametrize("name", sorted(LISTS))
def test_every_list_takes_an_empty_folder_and_any_parameter(tmp_path: Path, data: Path, name: str) -> None:
    assert not len(_entries(tmp_path, name, set="x", run="x", order="'", kind='"', source="%", as_of="soon"))
    junk = {"order": "'; DROP", "kind": '"', "source": "%", "draw": "-1", "size": "nan", "value": "inf", "who": "\0"}
    assert isinstance(len(_entries(data, name, **junk)), int)
