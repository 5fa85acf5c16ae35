"""What became of decisions about evaluation rows and training rows, and what they wait for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dashboards.data.catalog import scan
from dashboards.data.outcomes import Waiting, sentences, waiting, words_of
from dashboards.data.review_log import log_of
from dashboards.data.reviews import append_all
from tests.dashboards.data.test_corrections import correction
from winnow.corrections import Correction

Report = Callable[[str, dict[str, str]], None]


@pytest.fixture
def report(own: Path) -> Report:
    """Writes what a run or a set made of the lines, as the stages do."""

    def write(folder: str, lines: dict[str, str]) -> None:
        (own / folder / "corrections.json").write_text(json.dumps({"counts": {}, "lines": lines}))
        manifest = own / folder / "manifest.json"
        manifest.write_text(manifest.read_text() + "\n")  # who writes the one writes the other

    return write


def answer(number: int, run: str = "demo-tuned", reviewer: str = "ann") -> Correction:
    return correction(number, "ambiguous", reviewer, sample_id=str(number), run=run)


def training(number: int) -> Correction:
    return correction(number, "drop", sample_id=str(number), run="demo")


def left(data: Path) -> Waiting:
    return waiting(log_of(data / "corrections"), scan(data))


def test_decisions_about_answers_wait_for_scores_and_not_for_a_curation(own: Path, report: Report) -> None:
    append_all(own / "corrections", [answer(1), answer(2), correction(3, "exclude_from_eval", sample_id="3")])
    assert left(own) == Waiting(0, {"demo-tuned": 3, "demo-base": 3}, 3)
    assert sentences(left(own)) == ["3 decisions wait for the corrected score of 2 runs."]
    report("evals/demo-tuned", {"1": "applied", "2": "stale", "3": "elsewhere"})
    assert left(own).scores == {"demo-base": 3}, "a stale decision was seen"
    assert sentences(left(own)) == ["3 decisions wait for the corrected score of demo-base."]
    report("evals/demo-base", {"1": "applied", "2": "elsewhere", "3": "elsewhere"})
    assert left(own).scores == {}
    assert sentences(left(own)) == ["The last curation and the corrected scores have seen every decision that counts."]


def test_decisions_about_training_rows_wait_for_a_curation(own: Path, report: Report) -> None:
    append_all(own / "corrections", [training(1), training(2), answer(3), correction(4, "tag", sample_id="1")])
    assert left(own).curation == 2 and left(own).decided == 1
    report("curated/demo", {"1": "applied"})
    assert left(own).curation == 1
    assert sentences(left(own))[0] == "1 decision waits for the next curation."


def test_a_run_of_other_tasks_waits_for_nothing(own: Path) -> None:
    path = own / "evals/demo-base/scores.json"
    scores = json.loads(path.read_text())
    path.write_text(json.dumps({**scores, "tasks": {"other": scores["tasks"]["vqa"]}}))
    append_all(own / "corrections", [answer(1)])
    assert left(own).scores == {"demo-tuned": 1}


def test_only_what_counts_waits(own: Path) -> None:
    lines = [training(1), correction(2, "keep", "bob", sample_id="1", run="demo"), answer(3)]
    lines.append(correction(4, "undo", undoes="3"))
    append_all(own / "corrections", lines)
    assert left(own) == Waiting(0, {}, 0), "one pair in conflict, one line undone"


def test_each_decision_says_what_became_of_it(own: Path, report: Report) -> None:
    lines = [answer(1), answer(2), answer(3), training(4), training(5), answer(6), correction(7, "drop", sample_id="6")]
    append_all(own / "corrections", [*lines, correction(8, "keep", sample_id="7")])
    report("evals/demo-tuned", {"1": "applied", "2": "stale", "4": "elsewhere", "8": "applied"})
    report("evals/demo-base", {"1": "applied", "2": "applied"})
    report("curated/demo", {"1": "elsewhere", "4": "applied", "8": "elsewhere"})
    words = words_of(log_of(own / "corrections").decisions, scan(own))
    assert set(words["1"].removeprefix("applied in ").split(", ")) == {"demo-base", "demo-tuned"}
    assert set(words["2"].split("; ")) == {"stale in demo-tuned", "applied in demo-base"}
    assert words["3"] == "not yet scored"
    assert (words["4"], words["5"]) == ("applied by curation", "not yet curated")
    assert "6" not in words, "it was replaced by the same person"
    assert words["8"] == "applied in demo-tuned"


def test_what_is_in_conflict_waits_for_nobody_but_people(own: Path) -> None:
    append_all(own / "corrections", [answer(1), correction(2, "keep", "bob", sample_id="1", run="demo-tuned")])
    assert words_of(log_of(own / "corrections").decisions, scan(own)) == {"1": "", "2": ""}
