"""What reports say of cut-off replies, of other readers, of rows asked again, of judges and of checks."""

import copy
import json
from pathlib import Path

import pytest
from made import made_row, write_evaluation
from rich.console import Console

from evalsuite.analysis.results import score_rows
from evalsuite.check import CheckReport, Finding
from evalsuite.report import sentences
from evalsuite.report.checked import estimate
from evalsuite.report.console import print_scores
from evalsuite.report.html import html_report
from evalsuite.report.judged import JUDGE_HEADER, judge_rows, judge_sentences
from evalsuite.report.markdown import markdown_report
from evalsuite.report.numbers import code_parts, ends, number, prose
from evalsuite.tasks.spec import TaskSpec

ROWS = [made_row(number, "red") for number in range(6)] + [made_row(number, "blue") for number in range(6, 10)]
AGREEMENT = {
    "n": 9, "agreement": {"value": 0.75, "ci_low": 0.5, "ci_high": 0.9}, "both_right": 5, "only_judge": 1,
    "kappa": {"value": 0.5, "ci_low": 0.1, "ci_high": 0.8}, "only_other": 1, "both_wrong": 2,
}  # fmt: skip
JUDGE = {
    "judge": "qwen at http://127.0.0.1/v1", "rubric": "mm_vet", "rubric_digest": "x", "rows": 10, "coverage": 0.9,
    "statuses": {"ok": 9, "unparsed": 1, "no_reply": 0, "failed": 0}, "of_judged": 0.6, "cut": 0, "defused": 2,
    "orders": {"rows": 9, "same": 7, "first_preferred": 11, "second_preferred": 4},
    "agreement": {"accuracy": {"title": "accuracy", **AGREEMENT}}, "reviewers": {"metric": "accuracy", **AGREEMENT},
}  # fmt: skip
READING = {
    "rows": 10, "warning": "3.0 % of the rows would score otherwise if <b>Markdown</b> were taken off; set `strip`",
    "readers": [
        {"name": "lenient", "extraction": {}, "changed": 1, "share": 0.1, "score": 0.65, "gained": 1, "lost": 0,
         "guesses": False},
        {"name": "Markdown off", "extraction": {}, "changed": 3, "share": 0.3, "score": 0.7, "gained": 2, "lost": 1,
         "guesses": True},
        {"name": "the same", "extraction": {}, "changed": 0, "share": 0.0, "score": 0.6, "gained": 0, "lost": 0,
         "guesses": False},
    ],
}  # fmt: skip


@pytest.fixture
def scores(tmp_path: Path) -> dict:
    folder = write_evaluation(tmp_path / "made", copy.deepcopy(ROWS))
    found = json.loads((folder / "scores.json").read_text())
    task = found["tasks"]["made"]
    task |= {"truncated": 4, "reading": READING, "judge": JUDGE}
    task["metrics"]["accuracy"]["truncated_as_wrong"] = 0.4
    again = {"requests": 3, "replies": 4, "since": "2026-01-02T03:04:05", "statuses": {"refused": 1, "unparsed": 3}}
    check = [
        Finding("note", "made", "a note", ""),
        Finding("warning", "made", "a reference | with a bar", "fix it", 2, ("a", "b")),
        Finding("warning", "", "the server leaves out logprobs", ""),
    ]
    return {**found, "again": again, "check": [finding.to_json() for finding in check]}


def rendered(scores: dict, tmp_path: Path) -> dict[str, str]:
    spec = TaskSpec.model_validate({"name": "made", "source": {"location": "x"}, "metrics": ["accuracy"]})
    results = {"made": score_rows(spec, copy.deepcopy(ROWS))}
    console = Console(record=True, width=400, file=(tmp_path / "console.txt").open("w"))
    print_scores(tmp_path, scores, console)
    return {
        "markdown": markdown_report(scores, {}),
        "html": html_report(scores, results, {"made": tmp_path}, {}),
        "console": console.export_text(),
    }


@pytest.mark.parametrize("form", ["markdown", "html", "console"])
def test_every_report_has_both_figures_of_cut_off_replies_and_what_other_readers_would_change(form, scores, tmp_path):
    text = rendered(scores, tmp_path)[form]
    assert "Cut-off replies: accuracy is 60.0 with them as read, 40.0 with them as wrong." in text
    assert ("`generation.max_new_tokens`" if form != "html" else "<code>generation.max_new_tokens</code>") in text
    assert "3.0 % of the rows would score otherwise" in text and ("<b>Markdown" in text) == (form == "console")
    assert "Asked again with --again since 2026-01-02T03:04:05: 3 questions, whose first replies were 1 refused" in text
    assert "Judged by qwen at http://127.0.0.1/v1 with the rubric mm" in text
    assert "it preferred the first reply 11 times, the second 4 times" in text


@pytest.mark.parametrize("form", ["markdown", "html", "console"])
def test_every_report_names_why_rows_failed_and_which_are_asked_again(form, tmp_path):
    refused = {"finish_reason": "content_filter", "error": "HTTP 400: filtered"}
    busy = {"error": "HTTP 429: slow down", "retry": True}
    lost = [made_row(10, None, **busy), made_row(11, None, **busy), made_row(12, None), made_row(13, "", **refused)]
    folder = write_evaluation(tmp_path / "made", [*copy.deepcopy(ROWS), *lost])
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["tasks"]["made"]["statuses"] == {"ok": 10, "unparsed": 0, "refused": 1, "failed": 3}
    text = rendered(scores, tmp_path)[form]
    assert "Failed: HTTP 429: slow down (2 rows, asked again when the run is repeated); lost (1 row)." in text
    assert "filtered" not in text


@pytest.mark.parametrize("form", ["markdown", "html"])
def test_written_reports_list_readers_agreement_and_what_was_found_before(form, scores, tmp_path):
    text = rendered(scores, tmp_path)[form]
    assert text.index("Markdown off (guesses)") < text.index("lenient"), "the reader that changes most comes first"
    assert "the same" not in text, "a reader that changes nothing needs no line"
    assert "reviewers (accuracy)" in text and "only judge right" in text
    assert "with a bar (2 rows: a, b); fix it" in text and "the server leaves out logprobs" in text
    assert "a note" not in text, "notes are for those who check"


def test_judge_rows_are_those_of_their_header(scores):
    rows = judge_rows(scores["tasks"]["made"])
    assert rows[0] == ["accuracy", "9", "75.0 (50.0 to 90.0)", "0.50 (0.10 to 0.80)", "5", "1", "1", "2"]
    assert all(len(row) == len(JUDGE_HEADER) for row in rows)
    first, changed, _ = judge_sentences(scores["tasks"]["made"])
    assert first.endswith(
        "90.0 % of 10 rows have a verdict, 60.0 on those alone. Without a verdict: 1 not in the rubric’s form "
        "(scored 0)."
    )
    assert changed == "Replies as the judge saw them: 2 with marks or special tokens disarmed."


def test_nothing_is_said_where_there_is_nothing_to_say(tmp_path):
    folder = write_evaluation(tmp_path / "made", copy.deepcopy(ROWS))
    scores = json.loads((folder / "scores.json").read_text())
    task = scores["tasks"]["made"]
    assert sentences.truncated_sentence(task) == "" and sentences.again_sentence(scores) == ""
    assert judge_sentences(task) == [] and judge_rows(task) == []
    assert sentences.status_sentence(task) == "10 rows, 100.0 % answered: 10 ok."
    text = (folder / "report.md").read_text()
    assert "The judge" not in text and "Found before the run" not in text


def test_doubts_come_right_behind_the_headline(scores, tmp_path):
    text = rendered(scores, tmp_path)
    markdown, html = text["markdown"], text["html"]
    for doubt in ("Cut-off replies:", "Reading: 3.0 %", "Judged by qwen"):
        assert markdown.index(doubt) < markdown.index("| metric |"), doubt
        assert html.index('class="plot"') < html.index(doubt) < html.index("<th>metric</th>"), doubt
    assert markdown.index("Asked again") < markdown.index("## made")
    assert "another reader gains rows" in html[: html.index("<section")]


def test_the_reading_sentence_leaves_readers_that_guess_aside(scores):
    task = copy.deepcopy(scores["tasks"]["made"])
    task["reading"]["warning"] = None
    assert sentences.reading_sentence(task) == (
        "Reading: no other reader scores higher (those that guess aside); “lenient” gains most, 10.0 %."
    )
    task["reading"]["rows"] = 1000
    assert "gains more than 1 % of the rows (those that guess aside); “lenient” gains most, 0.1 %." in (
        sentences.reading_sentence(task)
    )
    task["reading"]["readers"][0]["gained"] = 0
    assert sentences.reading_sentence(task) == "Reading: no other reader gains a row (those that guess aside)."


def test_only_what_stands_between_backticks_is_code():
    assert prose("raise `max_new_tokens: 5` <b>`</b> a|b") == "raise `max_new_tokens: 5` &lt;b>\\`&lt;/b> a\\|b"
    assert "".join(text for text, _ in code_parts("a `b` c")) == "a b c" and code_parts("`b`") == [("b", True)]


def test_a_rise_or_fall_is_a_positive_number_and_its_interval_keeps_the_signs():
    entry = {"title": "accuracy", "unit": "%", "difference": -0.07, "ci_low": -0.12, "ci_high": -0.01, "p": None}
    sentence = sentences.difference_sentence({"headline": "accuracy", "metrics": {"accuracy": entry}})
    assert sentence == "accuracy fell by 7.0 (−12.0 to −1.0); the interval excludes zero."
    entry |= {"difference": 0.07, "ci_low": 0.01, "ci_high": 0.12}
    sentence = sentences.difference_sentence({"headline": "accuracy", "metrics": {"accuracy": entry}})
    assert sentence == "accuracy rose by 7.0 (+1.0 to +12.0); the interval excludes zero."


def test_of_a_long_reply_both_ends_are_shown():
    assert ends("abcdef", 6) == "abcdef" and ends("abcdefg", 4) == "ab … fg"


def test_what_is_answered_is_not_estimated():
    report = CheckReport("one", "model", {"made": 3, "other": 1}, {"made": 0, "other": 1}, [], [], [])
    assert estimate(report) == ["made: 3 rows, all answered", "other: 1 row, 1 question to ask"]


def test_what_rounds_to_nothing_has_no_minus():
    assert [number(unit, -0.0001, sign=True) for unit in ("%", "points", "")] == ["+0.0", "+0.0", "+0.00"]
    assert [number(unit, -0.06) for unit in ("%", "points", "")] == ["−6.0", "−0.1", "−0.06"]
