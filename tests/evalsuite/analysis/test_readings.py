"""What cut-off replies and other readers would make of a score, against scoring the changed rows by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from made import made_row, spec_of, write_evaluation

from evalsuite.analysis import readings
from evalsuite.analysis.readings import reading_report, truncated_as_wrong
from evalsuite.analysis.results import score_rows
from evalsuite.metrics.base import Row
from evalsuite.reading.read import Extraction
from evalsuite.runs.finish import read_scores
from evalsuite.tasks.spec import TaskSpec

WORDS = ("red", "a red dog runs", "blue", "the cat sleeps on a mat", "yes", "no", "B", "two")


def spec_with(metrics: Sequence[Any], **extraction: Any) -> TaskSpec:
    return spec_of(metrics=metrics, slices=["category"]).model_copy(
        update={"extraction": Extraction.model_validate(extraction)}
    )


def cut_rows(references: Sequence[str]) -> list[Row]:
    """Forty rows, two an image; every third reply was cut off, every seventh request failed."""
    rows = [
        made_row(
            n,
            None if n % 7 == 6 else references[n * 5 % len(references)],
            images=2,
            references=[references[n % len(references)]] * (1 + n % 3),
            slice_category=("count", "color")[n // 2 % 2],
        )
        for n in range(40)
    ]
    for n, row in enumerate(rows):
        if n % 3 == 0 and row["finish_reason"] == "stop":
            row["finish_reason"] = "length"
        row["images"] = [f"{n // 2}.png"]
    return rows


@pytest.mark.parametrize(
    ("metrics", "references", "kind"),
    [
        (["accuracy", "vqa_accuracy", "anls", "gqa", "relaxed_accuracy"], WORDS, "text"),
        (["cider", "bleu", "rouge_l"], WORDS, "text"),
        (["pope", "mme"], ("yes", "no"), "yes_no"),
        ([{"name": "pope", "variant": "official"}], ("yes", "no"), "yes_no"),
        (["unanswerable"], ("unanswerable", "red"), "text"),
    ],
)
def test_truncated_rows_count_as_rows_without_an_answer(
    metrics: list[Any], references: Sequence[str], kind: str
) -> None:
    spec, rows = spec_with(metrics, kind=kind), cut_rows(references)
    lost = [{**row, "finish_reason": "error"} if row["finish_reason"] == "length" else row for row in rows]
    result, expected = score_rows(spec, rows), score_rows(spec, lost)
    found = truncated_as_wrong(result)
    assert int(result.truncated.sum()) == 12
    assert found == pytest.approx(
        {column.name: float(column.estimate(column.sums.sum(0, keepdims=True))[0]) for column in expected.columns}
    )
    as_read = {column.name: float(column.estimate(column.sums.sum(0, keepdims=True))[0]) for column in result.columns}
    assert found != pytest.approx(as_read)


def test_which_rows_count_as_wrong_is_exact() -> None:
    """Right and cut off: wrong. Right and whole: right. Wrong stays wrong, cut off or not."""
    rows = [made_row(n, text) for n, text in enumerate(["red", "red", "blue", "blue", None])]
    rows[0]["finish_reason"] = rows[2]["finish_reason"] = "length"
    result = score_rows(spec_of(), rows)
    assert result.headline.per_row.tolist() == [1, 1, 0, 0, 0]
    assert truncated_as_wrong(result) == {"accuracy": 1 / 5}


def by_hand(spec: TaskSpec, rows: list[Row], extraction: dict[str, Any]) -> tuple[int, float]:
    own = score_rows(spec, rows).headline
    other = score_rows(spec.model_copy(update={"extraction": Extraction.model_validate(extraction)}), rows).headline
    return int((own.per_row != other.per_row).sum()), float(other.estimate(other.sums.sum(0, keepdims=True))[0])


THINKING = [("<think>it looks blue</think>red", "red"), ("red", "red"), ("**red**", "red"), ("blue\nred", "blue")] * 10
LETTERS = [("The answer is B.", "B"), ("B", "A"), ("A dog, so (B)", "B"), ("<think>A</think>**B**", "B")] * 10


@pytest.mark.parametrize(
    ("metrics", "replies", "extraction"),
    [
        (["accuracy"], THINKING, {"kind": "line", "strip": []}),
        (["accuracy"], THINKING, {"kind": "line"}),
        (["cider", "bleu"], THINKING, {"kind": "text", "strip": []}),
        (["multiple_choice"], LETTERS, {"kind": "letter", "rule": "mmmu"}),
        (["pope"], [("Yes.", "yes"), ("<think>no</think>yes", "yes"), ("It is not", "no")] * 10, {"kind": "yes_no"}),
    ],
)
def test_every_reader_is_reported_as_if_all_rows_were_read_by_it(
    metrics: list[Any], replies: list[tuple[str, str]], extraction: dict[str, Any]
) -> None:
    spec = spec_with(metrics, **extraction)
    rows = [made_row(n, raw, references=[answer], choices=["cat", "dog"]) for n, (raw, answer) in enumerate(replies)]
    found = reading_report(score_rows(spec, rows), 0)
    assert found["rows"] == len(rows) and len(found["readers"]) >= 3
    for reader in found["readers"]:
        changed, score = by_hand(spec, rows, reader["extraction"])
        assert (reader["changed"], reader["share"]) == (changed, changed / len(rows)), reader["name"]
        assert reader["score"] == pytest.approx(score), reader["name"]
    assert any(reader["changed"] for reader in found["readers"])


def test_warning_names_the_setting_that_reads_more(tmp_path: Path) -> None:
    rows = [made_row(n, "<think>it may be blue</think>red" if n % 10 == 0 else "red") for n in range(100)]
    folder = write_evaluation(tmp_path / "run", rows)
    assert read_scores(folder)["tasks"]["made"]["reading"]["warning"] is None, "thinking is taken off"
    careless = spec_with(["accuracy"], kind="line", strip=[])
    warning = reading_report(score_rows(careless, rows), 0)["warning"]
    assert "10.0 % of the rows are right under" in warning and "0.0 % the other way round" in warning
    assert "accuracy is 100.0 instead of 90.0" in warning
    setting = json.loads(warning.partition("extraction: ")[2].partition("`")[0])
    assert by_hand(careless, rows, setting) == (10, 1.0)
    one = [made_row(n, "<think>it may be blue</think>red" if n == 0 else "red") for n in range(100)]
    assert reading_report(score_rows(careless, one), 0)["warning"] is None, "one in a hundred is not more than 1 %"


def test_warning_weighs_rows_gained_not_the_balance() -> None:
    """Three in a hundred rows are right only where stated answers are taken, five only where they are not."""
    careless = spec_with(["accuracy"], kind="sentence", rule="verbatim")
    replies = ["Answer: red"] * 3 + ["red"] * 92 + ["red\nAnswer: blue"] * 5
    report = reading_report(score_rows(careless, [made_row(n, raw) for n, raw in enumerate(replies)]), 0)
    (taken,) = (reader for reader in report["readers"] if reader["name"] == "stated answers taken")
    assert (taken["gained"], taken["lost"], taken["changed"]) == (3, 5, 8) and taken["score"] == pytest.approx(0.95)
    assert "3.0 % of the rows are right under" in report["warning"] and "5.0 % the other way" in report["warning"]
    few = [made_row(n, raw) for n, raw in enumerate(["Answer: red"] + ["red"] * 99)]
    assert reading_report(score_rows(careless, few), 0)["warning"] is None


def test_a_reader_that_guesses_is_shown_but_never_recommended() -> None:
    """POPE's own code reads *yes* in every reply that does not deny."""
    spec = spec_with(["pope"], kind="yes_no")
    rows = [made_row(n, "The image is hard to read." if n % 2 else "yes", references=["yes"]) for n in range(100)]
    report = reading_report(score_rows(spec, rows), 0)
    (official,) = (reader for reader in report["readers"] if (reader["extraction"] or {}).get("rule") == "official")
    assert official["gained"] == 50 and official["guesses"] and report["warning"] is None


def test_of_many_rows_some_images_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readings, "READ_AGAIN", 400)
    rows = [made_row(n, "<think>no</think>red" if n // 2 % 4 == 0 else "red", images=2) for n in range(2000)]
    result = score_rows(spec_with(["accuracy"], kind="line", strip=[]), rows)
    found = reading_report(result, 0)
    (reader,) = (one for one in found["readers"] if one["name"] == "everything stripped")
    assert 400 <= found["rows"] <= 402 and found == reading_report(result, 0)
    assert reader["share"] == pytest.approx(0.25, abs=0.06) and reader["score"] == pytest.approx(1.0, abs=0.06)
