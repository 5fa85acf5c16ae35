"""The page of all queues, and the buttons of other pages that start a review, in Streamlit's test harness."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboards.data.audit import audit, audit_sample, audit_verdicts
from dashboards.data.catalog import scan
from dashboards.data.reviews import append, read_decisions
from dashboards.review.assignment import read_assignments
from dashboards.review.queues import Queue, entries
from tests.dashboards.pages import captions, metrics, open_page, texts
from winnow.corrections import Action, Correction


def _press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception, app.exception
    return app


def _view(app: AppTest) -> Queue:
    found = app.query_params["view"]  # a list once the app has set it, the text itself after a change of page
    return Queue.from_parameter(found if isinstance(found, str) else found[-1])


def _decide(root: Path, row: int, reviewer: str, action: Action = "keep", tags: tuple[str, ...] = ()) -> None:
    table = pd.read_parquet(root / "evals" / "demo-tuned" / "predictions.parquet")
    line = Correction(
        correction_id=uuid.uuid4().hex, sample_id=table["sample_id"][row], content_hash=table["content_hash"][row],
        action=action, reviewer=reviewer, at=datetime.now(UTC), run="demo-tuned", tags=tags,
    )  # fmt: skip
    append(root / "corrections", line)


def test_an_empty_folder_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tmp_path, monkeypatch, "queues")
    assert any("make " in element.value for element in (*app.code, *app.caption, *app.markdown))


def test_every_queue_shows_its_rows_and_what_is_left(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = entries(scan(own), Queue.from_parameter("run=demo-tuned"))
    _decide(own, int(wrong.row_of[0]), "anna")
    app = open_page(own, monkeypatch, "queues", run="demo-tuned")
    app.text_input(key="reviewer").set_value("Anna").run()
    listed = dict(zip(texts(app), [text for text in captions(app).splitlines() if "left to you" in text], strict=False))
    assert listed["Wrong answers, the worst first"] == f"{len(wrong)} rows, {len(wrong) - 1} left to you"
    for label, view in {
        "Rule blurry": "list=rule&set=demo&rule=blurry",
        "Leaks: training rows that show an image of an evaluation": "list=leaks&set=demo",
        "Audit: a random sample of right and wrong answers": "list=audit&run=demo-tuned",
    }.items():
        assert listed[label].startswith(f"{len(entries(scan(own), Queue.from_parameter(view)))} rows, ")
    assert "Duplicates, each beside the row that was kept" not in listed, "an empty queue is not offered"
    _press(app, "queue_0")
    assert _view(app).values()["run"] == ["demo-tuned"]


def test_decided_rows_can_be_left_out(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "queues")
    app.selectbox(key="queue_rows").set_value("Only undecided by anyone").run()
    _press(app, "queue_0")
    assert _view(app).values()["undecided"] == ["anyone"] and not _view(app).moves


def test_a_queue_is_split_among_reviewers(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "queues", run="demo-tuned")
    app.text_input(key="reviewer").set_value("Anna").run()
    app.selectbox(key="split_queue").set_value("Audit: a random sample of right and wrong answers")
    app.text_input(key="split_names").set_value("anna, Ben ; chen,, ANNA")
    app.slider(key="split_overlap").set_value(50)
    next(button for button in app.button if button.label == "Split").click().run()
    assert not app.exception, app.exception
    (made,) = read_assignments(own)[0]
    assert made.names == ("ANNA", "Ben", "chen") and made.overlap == 0.5 and made.made_by == "Anna"
    rows = entries(scan(own), Queue.from_parameter(made.queue)).row_of
    assert made.total == len(rows)
    share = made.share("anna")
    for place in share[:3]:
        _decide(own, int(rows[place]), "anna")
    app.run()
    assert any(f"ANNA 3 of {len(share)}, {len(share) - 3} left" in text for text in texts(app)), texts(app)
    _press(app, f"mine_{made.assignment_id}")
    assert _view(app).name == "assigned" and len(entries(scan(own), _view(app), "anna")) == len(share)


def test_names_are_needed_to_split(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "queues")
    next(button for button in app.button if button.label == "Split").click().run()
    assert any("name at least one reviewer" in text for text in texts(app)) and read_assignments(own) == ([], [])


def test_agreement_and_disagreements_of_a_split_queue(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "queues", run="demo-tuned")
    app.selectbox(key="split_queue").set_value("Audit: a random sample of right and wrong answers")
    app.text_input(key="split_names").set_value("anna, ben")
    app.slider(key="split_overlap").set_value(20)
    next(button for button in app.button if button.label == "Split").click().run()
    (made,) = read_assignments(own)[0]
    rows = entries(scan(own), Queue.from_parameter(made.queue)).row_of[made.shared()]
    for number, row in enumerate(rows[:4]):
        _decide(own, int(row), "anna", "drop" if number == 3 else "keep")
        _decide(own, int(row), "ben", "drop" if number in (2, 3) else "keep")
    alone = made.share("anna")[~pd.Series(made.share("anna")).isin(made.shared())]
    _decide(own, int(entries(scan(own), Queue.from_parameter(made.queue)).row_of[alone[0]]), "anna")
    app.run()
    # Cohen's kappa of (keep, keep) × 2, (keep, drop), (drop, drop): observed 3/4, by chance 1/2.
    assert any(
        f"{len(rows)} rows are judged by two · anna and ben agree with κ 0.50 over 4 rows" in text
        for text in texts(app)
    ), texts(app)
    _press(app, f"settle_{made.assignment_id}")
    assert entries(scan(own), _view(app)).row_of.tolist() == [int(rows[2])]


def test_a_broken_assignment_is_named_and_the_page_stays(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "assignments").mkdir()
    (own / "assignments" / "x.json").write_text("{}")
    app = open_page(own, monkeypatch, "queues")
    assert any("is not an assignment" in text for text in texts(app)) and len(app.get("form")) == 1


def test_the_audit_shows_its_rate(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = scan(own).find("evals", "demo-tuned")
    assert run
    rows = audit_sample(run, 1, 200)
    for number, row in enumerate(rows[:20]):
        _decide(own, int(row), "anna", "exclude_from_eval" if number % 4 == 0 else "keep",
                ("wrong reference",) if number % 4 == 0 else ())  # fmt: skip
    found = audit(run, rows, audit_verdicts(run, rows, read_decisions(own / "corrections")))
    rate = found.wrong_references()
    assert rate and found.judged == 20
    app = open_page(own, monkeypatch, "queues", run="demo-tuned")
    shown = metrics(app)
    assert shown["Judged so far"] == f"20 of {len(rows)}"
    assert shown["Wrong references"] == f"{100 * rate.value:.1f}%"
    assert "can only raise the corrected score" in captions(app)
    _press(app, "review_audit")
    assert _view(app).name == "audit"


@pytest.mark.parametrize(
    ("page", "key", "expected"),
    [
        ("curation", "review_rule", "rule"),
        ("thresholds", "review_threshold", "threshold"),
        ("duplicates", "review_duplicates", "duplicates"),
    ],
)
def test_pages_of_a_set_start_a_review(
    small: Path, monkeypatch: pytest.MonkeyPatch, page: str, key: str, expected: str
) -> None:
    app = _press(open_page(small, monkeypatch, page), key)
    queue = _view(app)
    assert queue.name == expected and queue.values()["set"] == ["small"]
    assert len(entries(scan(small), queue)) or expected == "threshold"


def test_compare_starts_with_what_broke(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "compare", run="demo-tuned", base="demo-base")
    app.selectbox(key="compare_task").set_value("vqa").run()
    label = app.button(key="review_broken").label
    _press(app, "review_broken")
    view = _view(app).about("demo-tuned", "demo-base")
    assert re.findall(r"\d+", label) == [str(len(entries(scan(data), view)))]


def test_a_slice_starts_with_its_wrong_answers(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own / "evals" / "demo-tuned" / "predictions.parquet"
    table = pd.read_parquet(path)
    table = pd.concat([table.assign(sample_id=table["sample_id"] + f"-{number}") for number in range(6)])
    table["image_keys"] = [[f"{number:064x}"] for number in range(len(table))]
    table.to_parquet(path)
    app = open_page(own, monkeypatch, "slices", run="demo-tuned")
    app.selectbox(key="slices_task").set_value("vqa").run()
    _press(app, "review_slice")
    view = _view(app)
    assert view.values()["where"] and len(entries(scan(own), view.about("demo-tuned", "demo-base")))


def test_training_starts_with_the_highest_loss(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = pd.read_parquet(own / "curated" / "demo" / "samples.parquet")["sample_id"]
    losses = {"sample_id": ids, "source": "x", "stage": 0, "epoch": 0, "loss": range(60), "tokens": 1}
    pd.DataFrame(losses).to_parquet(own / "runs" / "demo" / "losses.parquet")
    app = open_page(own, monkeypatch, "training")
    assert "60" in app.button(key="review_losses").label
    _press(app, "review_losses")
    assert entries(scan(own), _view(app)).row_of.tolist() == list(range(59, -1, -1))


def test_conflicts_are_settled_from_corrections(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _decide(own, 2, "anna")
    _decide(own, 2, "ben", "drop")
    app = _press(open_page(own, monkeypatch, "corrections"), "settle")
    assert [title.value for title in app.title] == ["Conflicts"]
    assert {"Agree with anna", "Agree with ben"} <= {button.label for button in app.button}
