"""The pages on which a reviewer decides, and those that explain the data, in Streamlit's test harness."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from urllib.parse import parse_qs

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from dashboards.data.reviews import append
from tests.dashboards.data.test_corrections import correction
from tests.dashboards.pages import captions, cards, metrics, open_page, reviewed, texts
from winnow.corrections import read_corrections

PAGES = ("slices", "compare", "training", "curation", "thresholds", "duplicates", "corrections", "conflicts")


@pytest.fixture
def mine(small: Path, tmp_path: Path) -> Path:
    """A data folder to which a test may write decisions; its curated set is a copy."""
    shutil.copytree(small / "curated", tmp_path / "curated")
    return tmp_path


def _press(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception, app.exception
    return app


@pytest.mark.parametrize("page", PAGES)
def test_an_empty_data_folder_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    app = open_page(tmp_path, monkeypatch, page)
    shown = [element.value for element in (*app.code, *app.caption, *app.markdown)]
    assert any(word in text for text in shown for word in ("make ", "press G", "appear here")), shown


def test_the_panel_knows_who_reviews_what_and_how(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "corrections").mkdir()
    (own / "corrections" / "tags.txt").write_text("blurred\nwrong sign\n")
    app = open_page(own, monkeypatch, "sample", id="easy_vqa/test/0", run="demo-tuned", view="outcome=All&qt=color")
    app.text_input(key="reviewer").set_value(" ann  b ").run()
    told = reviewed(app)
    assert (told["reviewer"], told["id"], told["tags"]) == ("ann b", "easy_vqa/test/0", ["blurred", "wrong sign"])
    assert parse_qs(told["view"])["run"] == ["demo-tuned"] and parse_qs(told["view"])["qt"] == ["color"]
    kinds = {verdict["key"]: verdict["kinds"] for verdict in told["verdicts"]}
    assert kinds["W"] == kinds["L"] == ["evals"] and kinds["D"] == ["curated"] and len(kinds["G"]) == 2
    keys = {button.proto.shortcut for button in app.button}
    assert not keys & {*kinds, "J", "K", "U", "E", "N", "B", *"123456789"}, "the panel owns these keys"


def test_nearest_training_rows(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(small, monkeypatch, "sample", id="t/train/30")
    assert not [caption for caption in app.caption if "cosine" in caption.value]
    _press(app, "nearest")
    cosines = [float(caption.value.split()[1]) for caption in app.caption if caption.value.startswith("cosine")]
    assert len(cosines) == 8 and cosines == sorted(cosines, reverse=True)


def test_review_from_here_opens_the_first_card(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "failures", outcome="All", sort="As stored")
    first = cards(app)[0]["id"]
    _press(app, "review_first")
    assert app.query_params["id"] == first


def test_curation_explains_a_row(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(small, monkeypatch, "curation")
    app.text_input(key="why").set_value("t/train/blurred").run()
    (rules,) = [frame.value for frame in app.dataframe if "Fires when" in frame.value]
    assert list(rules[rules["Fired"]]["Rule"]) == ["blurry"]
    assert "sharpness" in rules.set_index("Rule").at["blurry", "This row"]
    app.text_input(key="why").set_value("t/train/nope").run()
    assert any("did you mean" in text for text in texts(app)) and not app.exception


@pytest.mark.slow
def test_thresholds_show_counts_and_a_patch(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(small, monkeypatch, "thresholds")
    decisions = pd.read_parquet(small / "curated/small/decisions.parquet")
    kept = int((decisions["decision"] != "drop").sum())
    assert metrics(app)["Dropped by this rule"] == "1" and metrics(app)["Rows kept in all"] == f"{kept}"
    app.slider[0].set_value(app.slider[0].max).run()
    assert not app.exception and int(metrics(app)["Dropped by this rule"]) > 1
    patch = app.code[0].value
    assert patch.startswith("rules:\n  blurry: {when:") and "entropy > -1.5" in patch and "< 40 " not in patch


def test_a_set_without_signals_is_a_sentence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "thresholds")
    assert any("cannot be read" in text and "`curate run" in text for text in texts(app))


def test_a_set_without_duplicates_has_nothing_to_turn(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "duplicates")
    assert "No row of this set was dropped as a duplicate." in [caption.value for caption in app.caption]
    assert "page_on" not in [button.key for button in app.button]


def test_a_replaced_row_can_be_kept_after_all(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(mine, monkeypatch, "duplicates")
    assert "9 rows replaced" in captions(app)
    keep = next(button for button in app.button if button.key.startswith("keep_") and not button.disabled)
    keep.click().run()
    assert not app.exception
    lines = read_corrections(mine / "corrections")
    assert len(lines) == 9 and {line.action for line in lines} == {"keep"}
    assert all(button.disabled for button in app.button if button.key.startswith("keep_"))


def test_compare_counts_equal_the_gallerys(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "compare", run="demo-tuned", base="demo-base")
    app.selectbox(key="compare_task").set_value("vqa").run()
    shown = int(metrics(app)["broken"])
    if not shown:
        pytest.fail("the fixture has broken rows")
    app.button(key="flip_Broken").click().run()
    assert not app.exception and len(cards(app)) == shown


def test_slices_need_thirty_rows(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "slices", run="demo-base")
    app.selectbox(key="slices_task").set_value("vqa").run()
    assert not app.exception
    assert all(rows >= 30 for frame in app.dataframe for rows in frame.value["Rows"])


def test_corrections_lists_states_tags_and_agreement(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {"sample_id": "easy_vqa/test/0", "run": "demo-tuned"}
    append(own / "corrections", correction(1, "tag", "ann", tags=("wrong object",), **seen))
    append(own / "corrections", correction(2, "keep", "ann", **seen))
    append(own / "corrections", correction(3, "keep", "bob", **seen))
    app = open_page(own, monkeypatch, "corrections")
    assert metrics(app)["Decisions that count"] == "3"
    (table,) = [frame.value for frame in app.dataframe if "Decision" in frame.value]
    assert list(table["Decision"]) == ["right as it stands", "right as it stands", "tag"] and set(table["State"]) == {
        "active"
    }
    assert set(table["What became of it"]) == {"not yet scored"}
    (tags,) = [frame.value for frame in app.dataframe if "Tag" in frame.value]
    assert list(tags["Samples"]) == [1]
    (agreement,) = [frame.value for frame in app.dataframe if "κ" in frame.value]
    assert list(agreement["Same verdict"]) == ["100%"]


def test_decisions_about_answers_need_new_scores_only(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = pd.read_parquet(own / "evals/demo-tuned/predictions.parquet").iloc[0]
    seen = {"sample_id": row["sample_id"], "content_hash": row["content_hash"], "run": "demo-tuned"}
    append(own / "corrections", correction(1, "ambiguous", **seen))
    app = open_page(own, monkeypatch, "corrections")
    assert "1 decision waits for the corrected score of 2 runs" in captions(app)
    (shown,) = [code.value for code in app.code if not code.value.startswith("import")]
    assert sorted(shown.splitlines()) == [
        "evalsuite score data/evals/demo-base --corrections data/corrections",
        "evalsuite score data/evals/demo-tuned --corrections data/corrections",
    ]


def test_decisions_about_training_rows_need_the_whole_turn(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append(mine / "corrections", correction(1, "drop", sample_id="t/train/30", run="small"))
    app = open_page(mine, monkeypatch, "corrections")
    assert "1 decision waits for the next curation" in captions(app)
    commands = [code.value for code in app.code if not code.value.startswith("import")]
    assert [text.splitlines()[0] for text in commands] == [
        "curate run RECIPE", "finetune train RECIPE --fresh", "evalsuite run RECIPE",
    ]  # fmt: skip
    for text in commands:
        assert (Path(__file__).parents[3] / text.splitlines()[2].split()[2]).is_file(), "the demo's recipes exist"


@pytest.fixture
def disputed(own: Path) -> Path:
    """Anna and bob disagree about the first two answers of a run."""
    rows = pd.read_parquet(own / "evals/demo-tuned/predictions.parquet").iloc[:2]
    for place, row in enumerate(rows.to_dict("records")):
        seen = {"sample_id": row["sample_id"], "content_hash": row["content_hash"], "run": "demo-tuned"}
        append(own / "corrections", correction(10 * place, "relabel", "anna", new="**no**", note="see left", **seen))
        append(own / "corrections", correction(10 * place + 1, "keep", "bob", **seen))
    return own


def test_conflicts_are_settled_one_after_another(disputed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(disputed, monkeypatch, "corrections")
    assert metrics(app)["In conflict"] == "4"
    app.switch_page("app_pages/conflicts.py").run()
    app.text_input(key="reviewer").set_value("carol").run()
    assert {"**no**", "see left"} <= set(texts(app)), "texts of data are no Markdown"
    assert "anna · 2026-01-01 00:00" in captions(app) and "bob · " in captions(app)
    first = read_corrections(disputed / "corrections")[0].sample_id
    _press(app, next(button.key for button in app.button if button.label == "Agree with anna"))
    line = read_corrections(disputed / "corrections")[-1]
    assert (line.sample_id, line.action, line.new, line.reviewer) == (first, "relabel", "**no**", "carol")
    assert set(line.settles) == {"0", "1"} and not app.exception
    answer = next(area for area in app.text_area if area.label == "Another answer")
    answer.set_value("a\nb")
    next(box for box in app.text_input if box.label == "Note").set_value("neither")
    _press(app, next(button.key for button in app.button if button.label == "Settle with another answer"))
    line = read_corrections(disputed / "corrections")[-1]
    assert line.sample_id != first and (line.new, line.note) == ("a\nb", "neither")
    assert any("All 2 conflicts are settled" in element.value for element in app.markdown)
    _press(app, "conflict_undo")
    assert read_corrections(disputed / "corrections")[-1].undoes == line.correction_id
    assert [button for button in app.button if button.label == "Agree with bob"], "the same conflict again"


def test_an_answer_without_text_or_a_name_settles_nothing(disputed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(disputed, monkeypatch, "conflicts")
    app.text_input(key="reviewer").set_value("carol").run()
    _press(app, next(button.key for button in app.button if button.label == "Settle with another answer"))
    assert any("The new text is empty" in text for text in texts(app))
    app.text_input(key="reviewer").set_value("").run()
    _press(app, next(button.key for button in app.button if button.label == "Ambiguous"))
    assert any("Enter your name" in text for text in texts(app))
    assert len(read_corrections(disputed / "corrections")) == 4


def test_a_conflict_that_ended_meanwhile_is_not_settled_again(disputed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(disputed, monkeypatch, "conflicts")
    app.text_input(key="reviewer").set_value("carol").run()
    key = next(button.key for button in app.button if button.label == "Agree with anna")
    anna = read_corrections(disputed / "corrections")[0]
    gave_in = {"sample_id": anna.sample_id, "content_hash": anna.content_hash}
    append(disputed / "corrections", correction(90, "keep", "anna", **gave_in))
    _press(app, key)
    assert any("changed or was settled in the meantime" in text for text in texts(app))
    assert len(read_corrections(disputed / "corrections")) == 5


def test_a_corrected_score_of_failures_alone_offers_the_audit(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = own / "evals/demo-tuned/scores.json"
    scores = json.loads(path.read_text())
    entry = {"value": 0.9, "ci_low": 0.8, "ci_high": 0.95}
    corrected = {"n": 38, "answers": {"right": 0, "wrong": 12}, "metrics": {"accuracy": entry}}
    scores["tasks"]["vqa"]["corrected"] = corrected
    path.write_text(json.dumps(scores))
    app = open_page(own, monkeypatch, "overview", run="demo-tuned")
    assert "Only wrong answers were reviewed (12), which can only improve the score" in captions(app)
    links = [link.proto for link in app.get("page_link")]
    assert any("list%3Daudit%26run%3Ddemo-tuned" in link.query_string for link in links), links
    corrected["answers"] = {"right": 1, "wrong": 12}
    path.write_text(json.dumps(scores))
    assert "can only improve" not in captions(open_page(own, monkeypatch, "overview", run="demo-tuned"))


def test_after_the_next_curation_no_decision_waits(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = correction(1, "drop", sample_id="t/train/30", run="small")
    append(mine / "corrections", line)
    report = {"counts": {"applied": 1}, "lines": {line.correction_id: "applied"}}
    (mine / "curated" / "small" / "corrections.json").write_text(json.dumps(report))
    manifest = mine / "curated" / "small" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")  # a new curation writes a new one
    app = open_page(mine, monkeypatch, "corrections")
    assert "The last curation and the corrected scores have seen every decision" in captions(app)
    (table,) = [frame.value for frame in app.dataframe if "Decision" in frame.value]
    assert list(table["What became of it"]) == ["applied by curation"]
