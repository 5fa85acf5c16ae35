"""Each page, run by Streamlit's own test harness on folders in the stages' formats."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboards.folders import HOSTILE, with_task
from tests.dashboards.pages import captions, cards, metrics, open_page, texts


def test_overview_shows_what_the_evaluation_reports(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "overview", run="demo-tuned", base="demo-base")
    scores = json.loads((data / "evals" / "demo-tuned" / "scores.json").read_text())["tasks"]
    accuracy = scores["vqa"]["metrics"]["accuracy"]
    shown = metrics(app)
    assert shown["Accuracy · vqa"] == f"{100 * accuracy['value']:.1f}%"
    assert shown["CIDEr-D · caption"] == f"{scores['caption']['metrics']['cider']['value']:.2f}"
    between = f"95% interval {100 * accuracy['ci_low']:.1f}–{100 * accuracy['ci_high']:.1f}%"
    assert between in texts(app)
    decisions = pd.read_parquet(data / "curated" / "demo" / "decisions.parquet")
    kept = int((decisions["decision"] != "drop").sum())
    assert shown["Rows kept for training"] == f"{kept:,}"
    assert f"{len(decisions):,} rows in → {kept:,} kept" in captions(app)
    assert len(app.get("vega_lite_chart")) == 3


def test_a_review_is_started_from_the_overview_and_from_the_menu(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "overview", run="demo-tuned", base="demo-base")
    app.button(key="review_wrong").click().run()
    assert not app.exception and _view_on_screen(app) == ["run=demo-tuned&base=demo-base"]
    app = open_page(data, monkeypatch, "sample", run="demo-tuned", base="demo-base")
    assert _view_on_screen(app) == ["outcome=Wrong&run=demo-tuned&base=demo-base"], "without a list: the wrong answers"


def _view_on_screen(app: AppTest) -> list[str]:
    found = [json.loads(component.proto.json) for component in app.get("bidi_component")]
    return [data["view"] for data in found if "view" in data]


def test_empty_folder_says_which_commands_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(tmp_path, monkeypatch, "overview")
    commands = "\n".join(code.value for code in app.code)
    assert all(command in commands for command in ("make eval", "make curate", "make train", "evalsuite run RECIPE"))
    assert "make eval" in open_page(tmp_path, monkeypatch, "failures").code[0].value
    assert open_page(tmp_path, monkeypatch, "sample").text_input[0].label == "Id of a sample"


def test_only_curated_data_is_fine(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    shutil.rmtree(own / "evals")
    app = open_page(own, monkeypatch, "overview")
    assert "rows in" in captions(app)
    app = open_page(own, monkeypatch, "sample", id="easy_vqa/train/5")
    assert "because of blurry" in texts(app)


def test_unfinished_folders_are_listed_with_their_sentence(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "evals" / "demo-tuned" / "manifest.json").unlink()
    app = open_page(own, monkeypatch, "overview")
    assert any("finish it with `evalsuite run RECIPE`" in text for text in texts(app))
    assert app.selectbox(key="run").options == ["demo-base"]


@pytest.mark.parametrize("page", ["overview", "failures", "sample"])
def test_a_table_that_breaks_does_not_take_the_app_down(own: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    for table in own.glob("*/*/*.parquet"):
        table.write_bytes(b"PAR1 broken")
    app = open_page(own, monkeypatch, page, id="easy_vqa/test/0")
    assert any("cannot be read" in text for text in texts(app))


def test_gallery_shows_the_wrong_answers_worst_first(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "failures", run="demo-tuned")
    table = pd.read_parquet(data / "evals" / "demo-tuned" / "predictions.parquet")
    wrong = table[(table["accuracy"] < 0.5) | (table["status"] != "ok")]
    shown = cards(app)
    assert {card["id"] for card in shown} == set(wrong["sample_id"])
    assert f"{len(wrong):,} wrong · " in captions(app)
    first = table.set_index("sample_id").loc[shown[0]["id"]]
    facts = {fact["name"]: fact["text"] for fact in shown[0]["facts"]}
    assert facts["expected"] == first["references"][0] and set(facts) == {"answer", "expected", "baseline"}


def test_filters_from_the_url(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "failures", run="demo-base", outcome="All", qt="color", task="vqa", q="triangle")
    table = pd.read_parquet(data / "evals" / "demo-base" / "predictions.parquet")
    wanted = table[(table["slice_question_type"] == "color") & table["question"].str.contains("triangle")]
    assert len(wanted) and {card["id"] for card in cards(app)} >= set(wanted["sample_id"])
    assert app.selectbox(key="run").value == "demo-base"
    assert app.multiselect(key="qt").value == ["color"]


def test_a_filter_narrows_the_gallery_and_returns_to_page_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "failures", outcome="All")
    app.get("pagination")[0].set_value(2).run()
    assert len(cards(app)) == 24 and "25–48 of 48 answers" in captions(app)
    app.multiselect(key="qt").set_value(["shape"]).run()
    assert "1–" in captions(app) and not app.exception
    assert all("shape" in card["question"] or card["question"] == HOSTILE for card in cards(app))


def test_keys_turn_pages(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "failures", outcome="All")
    first = [card["id"] for card in cards(app)]
    app.button(key="page_on").click().run()
    second = [card["id"] for card in cards(app)]
    assert len(set(first) | set(second)) == 48
    app.button(key="page_back").click().run()
    assert [card["id"] for card in cards(app)] == first


def test_nonsense_in_the_url_falls_back_to_defaults(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(
        data, monkeypatch, "failures", run="../../etc", base="x", outcome="?", page="9999", below="abc", metric="1;--",
        qt="nope", status="x", sort="?", task="'",
    )  # fmt: skip
    assert app.selectbox(key="run").value in ("demo-base", "demo-tuned")
    assert cards(app)


def test_rows_that_were_cut_off_are_marked_and_can_be_chosen(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.read_parquet(data / "evals" / "demo-tuned" / "predictions.parquet")
    app = open_page(data, monkeypatch, "failures", run="demo-tuned", outcome="All", sort="As stored", mark="truncated")
    assert [card["id"] for card in cards(app)] == list(table[table["truncated"]]["sample_id"])[:24]
    assert all({"text": "truncated", "tone": "odd"} in card["chips"] for card in cards(app))
    assert app.multiselect(key="mark").value == ["truncated"]


def test_captions_have_no_verdict_and_say_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.read_parquet(data / "evals" / "demo-tuned" / "predictions.parquet")
    app = open_page(data, monkeypatch, "failures", run="demo-tuned", task="caption", status="ok")
    assert not cards(app) and "No metric of this task judges single answers" in captions(app)
    app.button(key="show_all").click().run()
    described = table[(table["task"] == "caption") & (table["status"] == "ok")].sort_values(["bleu_4", "sample_id"])
    assert [card["id"] for card in cards(app)] == list(described["sample_id"])
    assert any(chip["text"].startswith("CIDEr-D") for chip in cards(app)[0]["chips"])


def test_sample_shows_all_runs_references_and_leaks(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(
        data, monkeypatch, "sample", id="easy_vqa/test/0", run="demo-base", view="outcome=All&sort=As+stored"
    )
    drawn = texts(app)
    for run in ("demo-base", "demo-tuned"):
        row = pd.read_parquet(data / "evals" / run / "predictions.parquet").iloc[0]
        assert run in drawn and row["raw"] in drawn
    assert drawn.index("demo-base") < drawn.index("demo-tuned"), "the run of the view comes first"
    (matches,) = [frame.value for frame in app.dataframe if "Training row" in frame.value]
    assert list(matches["Training row"]) == [f"easy_vqa/train/{number}" for number in (25, 12, 38, 51)]
    assert set(matches["Decision"]) == {"dropped"}


def test_training_row_shows_every_rule_with_value_and_threshold(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "sample", id="easy_vqa/train/5")
    (rules,) = [frame.value for frame in app.dataframe if "Rule" in frame.value]
    assert list(rules["Rule"]) == ["blurry", "misaligned"]
    assert rules["Values of this row"][0] == "sharpness 12.25, entropy 4.5" and rules["Threshold"][1] == "0.15"


@pytest.mark.slow
def test_unknown_sample_is_a_sentence(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "sample", id="no/such/id")
    assert any("knows this id" in text.value for text in app.markdown)
    app.text_input(key="wanted_id").set_value(" easy_vqa/test/1 ")
    app.form_submit_button[0].click().run()
    assert app.query_params["id"] == "easy_vqa/test/1"


@pytest.mark.parametrize("page", ["failures", "sample"])
def test_text_of_the_data_reaches_no_markdown(data: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    app = open_page(data, monkeypatch, page, id="easy_vqa/test/3", outcome="All", q="onerror")
    rendered = [*app.markdown, *app.caption, *app.get("html"), *app.title, *app.subheader]
    assert not any("onerror" in str(element.value) or "**bold**" in str(element.value) for element in rendered)
    if page == "failures":
        assert HOSTILE in [card["question"] for card in cards(app)]


def test_the_sample_page_explains_what_the_metrics_compared(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_task(own)
    app = open_page(own, monkeypatch, "sample", id="easy_vqa/test/0", run="demo-tuned")
    (table,) = [frame.value for frame in app.dataframe if "Compared by" in frame.value]
    assert set(table["Normalised answer"]) == {"2"} and set(table["Matched"]) == {"2 of 3"}
    assert "evalsuite explain" in app.code[-1].value
