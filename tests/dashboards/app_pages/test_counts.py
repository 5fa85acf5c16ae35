"""Every count on a page is the one that the stage itself reports."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from curate.rules.explain import explain_row
from dashboards.data.catalog import Folder, scan
from dashboards.data.curated import funnel
from evalsuite.analysis.compare import compare_folders
from evalsuite.analysis.slices import find_slices
from tests.dashboards.pages import captions, cards, metrics, open_page, texts


@pytest.fixture(scope="module")
def folder(small: Path) -> Folder:
    found = scan(small).find("curated", "small")
    assert found
    return found


@pytest.mark.slow
def test_the_funnel_is_the_manifests(folder: Folder) -> None:
    """Rows, kept, flagged, and of each rule: rows on which it fired, rows that it dropped."""
    counts = json.loads((folder.path / "manifest.json").read_text())["counts"]
    found = funnel(folder)
    assert (found.rows_in, found.kept, found.flagged) == (
        counts["rows"], counts["keep"] + counts["flag"], counts["flag"],
    )  # fmt: skip
    reported = [(one["rule"], one["fired"], one["reason"]) for one in counts["rules"] if one["fired"]]
    drops = {one["rule"] for one in counts["rules"] if one["action"] == "drop"}
    shown = [(step.rule, step.fired, step.dropped) for step in found.steps]
    assert [rule for rule, *_ in shown] == [rule for rule, *_ in reported]
    assert [one for one in shown if one[0] in drops] == [one for one in reported if one[0] in drops]
    assert found.steps and all(step.dropped == 0 for step in found.steps if step.rule not in drops)


@pytest.mark.parametrize("page", ["overview", "curation"])
def test_the_pages_show_the_funnel(small: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    counts = json.loads((folder.path / "manifest.json").read_text())["counts"]
    kept = counts["keep"] + counts["flag"]
    app = open_page(small, monkeypatch, page)
    share = f"{100 * kept / counts['rows']:.1f}%"
    expected = f"{counts['rows']:,} rows in → {kept:,} kept ({share}), {counts['flag']:,} of them flagged"
    assert expected in captions(app)


def test_cases_of_a_rule_are_as_many_as_curation_counted(
    small: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rule in json.loads((folder.path / "manifest.json").read_text())["counts"]["rules"]:
        if rule["fired"]:
            app = open_page(small, monkeypatch, "curation", rule=rule["rule"])
            assert f"of {rule['fired']:,} rows on which the rule fired" in captions(app)
            assert len(cards(app)) == min(rule["fired"], 24)


def test_why_is_what_the_command_says(small: Path, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    explained = explain_row(folder.path, "t/train/blurred")
    app = open_page(small, monkeypatch, "curation", why="t/train/blurred")
    (table,) = [frame.value for frame in app.dataframe if "Fires when" in frame.value]
    assert list(table["Fired"]) == [rule.fired for rule in explained.rules]
    assert f"because of {explained.decision['reason']}" in texts(app)


def test_failures_are_the_evaluations_wrong_answers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The share of right answers is the evaluation's accuracy, and the pages agree with each other."""
    scores = json.loads((data / "evals" / "demo-tuned" / "scores.json").read_text())["tasks"]["vqa"]["metrics"]
    n, accuracy = scores["accuracy"]["n"], scores["accuracy"]["value"]
    app = open_page(data, monkeypatch, "failures", run="demo-tuned", base="demo-base", task="vqa")
    summary = dict(reversed(part.split(" ", 1)) for part in app.caption[0].value.split(" · "))
    assert int(summary["in all"]) == n and int(summary["right"]) == round(accuracy * n)
    assert int(summary["wrong"]) == n - round(accuracy * n)
    app = open_page(data, monkeypatch, "compare", run="demo-tuned", base="demo-base", compare_task="vqa")
    shown = metrics(app)
    for cell in ("fixed", "broken", "both right", "both wrong"):
        assert shown[cell] == summary[cell], cell
    assert shown["Rows compared"] == f"{n}"


@pytest.mark.slow
def test_slices_and_flips_are_the_commands(loop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real evaluation: what `evalsuite slices` and `evalsuite compare` print is what the pages show."""
    run, base = (loop / "evals" / name for name in ("demo-tuned", "demo-base"))
    reported = find_slices(run, only="easy_vqa", curated=None, min_rows=30)["tasks"]["easy_vqa"]
    app = open_page(loop, monkeypatch, "slices", run="demo-tuned", base="demo-base", slices_task="easy_vqa")
    assert f"{reported['n']:,} rows, {100 * reported['error']:.1f}% errors" in captions(app)
    by_name = {one["name"].replace("_", " "): one for one in reported["slices"]}
    for table in (frame.value for frame in app.dataframe):
        shown = [row for row in table.to_dict("records") if row["Slice"].replace("_", " ") in by_name]
        assert shown or not by_name
        for row in shown:
            one = by_name[row["Slice"].replace("_", " ")]
            assert (row["Rows"], row["Images"]) == (one["n"], one["images"])
            assert row["Errors"] == pytest.approx(100 * one["rate"])
            assert row["Excess errors"].startswith(f"{one['excess']:+.1f} ")
    compared = compare_folders(base, [run])["runs"][0]["tasks"]["easy_vqa"]
    app = open_page(loop, monkeypatch, "compare", run="demo-tuned", base="demo-base", compare_task="easy_vqa")
    shown = metrics(app)
    change = compared["metrics"]["accuracy"]
    assert shown["Rows compared"] == f"{compared['n']:,}"
    assert shown["Right answers"] == f"{100 * change['difference']:+.1f} points"
    assert f"95% {100 * change['ci_low']:+.1f} to {100 * change['ci_high']:+.1f}" in texts(app)
