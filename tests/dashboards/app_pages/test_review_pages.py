"""The pages on which a reviewer decides, and those that explain the data, in Streamlit's test harness."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from tests.dashboards.pages import captions, cards, metrics, open_page, texts
from winnow.corrections import read_corrections

PAGES = ("slices", "compare", "training", "curation", "thresholds", "duplicates", "corrections")


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
    assert any("make " in text or "press G" in text for text in shown), shown


def test_every_verdict_is_one_line_on_disk(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "sample", id="easy_vqa/test/0", run="demo-tuned")
    app.text_input(key="reviewer").set_value("ann").run()
    for key in ("verdict_W", "tag_2", "tag_3", "verdict_G"):
        _press(app, key)
    row = pd.read_parquet(own / "evals" / "demo-tuned" / "predictions.parquet").iloc[0]
    lines = read_corrections(own / "corrections")
    assert [line.action for line in lines] == ["exclude_from_eval", "tag", "tag", "keep"]
    assert lines[0].tags == ("wrong reference",) and len(lines[2].tags) == 2
    assert {(line.sample_id, line.reviewer, line.run) for line in lines} == {(row["sample_id"], "ann", "demo-tuned")}
    assert {line.content_hash for line in lines} == {row["content_hash"]}
    _press(app, "undo")
    assert read_corrections(own / "corrections")[-1].undoes == lines[-1].correction_id
    assert any("undone" in element.value for element in app.markdown)


def test_without_a_name_nothing_is_written(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "sample", id="easy_vqa/test/0")
    app.text_input(key="reviewer").set_value("").run()
    _press(app, "verdict_G")
    assert any("Enter your name" in text for text in texts(app)) and not (own / "corrections").exists()


def test_a_training_row_can_be_dropped_and_its_hash_is_curations(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(mine, monkeypatch, "sample", id="t/train/30")
    assert not [button for button in app.button if button.key == "verdict_W"], "no reference to exclude here"
    _press(app, "verdict_D")
    (line,) = read_corrections(mine / "corrections")
    row = pd.read_parquet(mine / "curated/small/samples.parquet").set_index("sample_id").loc["t/train/30"]
    assert (line.action, line.content_hash, line.run) == ("drop", row["content_hash"], "small")


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
    assert any("cannot be read" in text for text in texts(app))


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


def test_corrections_lists_states_tags_and_conflicts(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "sample", id="easy_vqa/test/0", run="demo-tuned")
    for name, keys in (("ann", ("tag_1", "verdict_G")), ("bob", ("verdict_A",))):
        app.text_input(key="reviewer").set_value(name).run()
        for key in keys:
            _press(app, key)
    app.switch_page("app_pages/corrections.py").run()
    assert not app.exception
    assert metrics(app)["Decisions that count"] == "3"
    (table,) = [frame.value for frame in app.dataframe if "Decision" in frame.value]
    assert list(table["Decision"]) == ["ambiguous", "keep", "tag"] and set(table["State"]) == {"active"}
    (tags,) = [frame.value for frame in app.dataframe if "Tag" in frame.value]
    assert list(tags["Samples"]) == [1]
    assert "3 decisions wait for the next curation" in captions(app)
    commands = [code.value for code in app.code]
    assert [text.splitlines()[0] for text in commands] == [
        "curate run RECIPE", "finetune train RECIPE --fresh", "evalsuite run RECIPE",
    ]  # fmt: skip
    for text in commands:
        assert (Path(__file__).parents[3] / text.splitlines()[2].split()[2]).is_file(), "the demo's recipes exist"


def test_after_the_next_curation_no_decision_waits(mine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(mine, monkeypatch, "sample", id="t/train/30")
    _press(app, "verdict_D")
    (line,) = read_corrections(mine / "corrections")
    report = {"counts": {"applied": 1}, "lines": {line.correction_id: "applied"}}
    (mine / "curated" / "small" / "corrections.json").write_text(json.dumps(report))
    manifest = mine / "curated" / "small" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")  # a new curation writes a new one
    app.switch_page("app_pages/corrections.py").run()
    assert "The last curation has seen every decision" in captions(app)
    (table,) = [frame.value for frame in app.dataframe if "Decision" in frame.value]
    assert list(table["Last curation"]) == ["applied"]
