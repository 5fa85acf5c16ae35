"""Text of the data is never Markdown, on any page; and folders that break cost a sentence, not the page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from streamlit.testing.v1 import AppTest

from dashboards.data.reviews import append
from tests.dashboards.folders import HOSTILE
from tests.dashboards.pages import cards, open_page, texts
from winnow.corrections import Correction

PAGES = ("overview", "failures", "sample", "slices", "compare", "training", "curation", "thresholds", "duplicates",
         "corrections", "side_by_side", "find", "conflicts", "queues", "run")  # fmt: skip
_MARKS = ("<img", "**bold", ":red[", "$5", "![p]")
# Elements that draw their body as it stands; only their labels and help texts are Markdown.
_PLAIN = ("text", "code", "arrow_data_frame", "vega_lite_chart", "arrow_vega_lite_chart", "bidi_component", "imgs")


def _elements(block: Any) -> Iterator[Any]:
    for child in block.children.values():
        if hasattr(child, "children"):
            yield from _elements(child)
        else:
            yield child


def _markdown_of(app: AppTest) -> list[str]:
    """Everything on the page that Streamlit reads as Markdown or HTML."""
    found = []
    for element in _elements(app._tree):
        if element.type in _PLAIN:
            continue
        proto = element.proto
        found += [str(getattr(proto, name, "")) for name in ("label", "help", "body", "placeholder", "caption")]
        if element.type in ("button_group", "radio"):
            found.append(str(proto.options))
    return found


def _set_column(path: Path, **values: Any) -> None:
    """Put one value into every row of these columns."""
    table = pq.read_table(path)
    for name, value in values.items():
        place, kind = table.schema.get_field_index(name), table.schema.field(name).type
        table = table.set_column(place, table.schema.field(name), pa.array([value] * table.num_rows, kind))
    pq.write_table(table, path)


@pytest.fixture(scope="module")
def hostile(small: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which every text that a data set, a recipe or a reviewer may choose is markup."""
    root = tmp_path_factory.mktemp("hostile")
    for part in ("evals", "runs"):
        shutil.copytree(data / part, root / part)
    shutil.copytree(small / "curated", root / "curated")
    for run in ("demo-base", "demo-tuned"):
        path = root / "evals" / run / "predictions.parquet"
        table = pd.read_parquet(path)
        asked = table[table["task"] == "vqa"]
        many = pd.concat([asked.assign(sample_id=asked["sample_id"] + f"/{number}") for number in range(3)])
        many["slice_question_type"] = [HOSTILE if number % 3 else "other" for number in range(len(many))]
        many["question"], many["raw"], many["extracted"] = HOSTILE, HOSTILE, HOSTILE
        many["references"] = [[HOSTILE, "x"]] * len(many)
        many["slice_place"] = HOSTILE
        many["error"] = HOSTILE
        many["image_keys"] = [[f"{number:064d}"] for number in range(len(many))]
        many.to_parquet(path)
    curated = root / "curated" / "small"
    _set_column(curated / "samples.parquet", source=HOSTILE, question=HOSTILE, answer=HOSTILE, answers=[HOSTILE])
    for name in ("samples.parquet", "decisions.parquet"):
        _rename_rule(curated / name, "blurry", HOSTILE)
    first = pq.read_table(curated / "samples.parquet", columns=["sample_id"])["sample_id"].to_pylist()[:8]
    pq.write_table(
        pa.table({"sample_id": first, "source": [HOSTILE] * 8, "stage": pa.array([0] * 8, pa.int32()),
                  "epoch": pa.array([0] * 8, pa.int32()), "loss": [1.0] * 8, "tokens": pa.array([2] * 8, pa.int32())}),
        root / "runs" / "demo" / "losses.parquet",
    )  # fmt: skip
    (root / "corrections").mkdir()
    (root / "corrections" / "tags.txt").write_text(HOSTILE + "\n")
    return root


def _rename_rule(path: Path, old: str, new: str) -> None:
    table = pq.read_table(path)
    if "rules" in table.column_names:
        rules = [[{**rule, "rule": new if rule["rule"] == old else rule["rule"]} for rule in fired or []]
                 for fired in table["rules"].to_pylist()]  # fmt: skip
        table = table.set_column(table.schema.get_field_index("rules"), table.schema.field("rules"),
                                 pa.array(rules, table.schema.field("rules").type))  # fmt: skip
    reason = pc.if_else(pc.equal(table["reason"], old), new, table["reason"])
    table = table.set_column(table.schema.get_field_index("reason"), "reason", reason)
    pq.write_table(table, path)


@pytest.mark.parametrize("page", PAGES)
def test_no_text_of_the_data_is_read_as_markdown(hostile: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    asked = {
        "sample": {"id": "easy_vqa/test/3/0"}, "failures": {"outcome": "All", "where": f"place={HOSTILE}"},
        "curation": {"rule": HOSTILE, "why": HOSTILE},
    }.get(page, {})  # fmt: skip
    app = open_page(hostile, monkeypatch, page, **asked)
    read = _markdown_of(app)
    assert read and not [text for text in read if any(mark in text for mark in _MARKS)]
    drawn = [*texts(app), *(card["question"] for card in cards(app)), *(str(frame.value) for frame in app.dataframe)]
    drawn += [str(box.options) for box in app.selectbox]
    if page in ("failures", "training", "curation", "thresholds"):
        assert any("onerror" in text for text in drawn), "the page shows the text somewhere"


def test_what_a_reviewer_wrote_is_no_markdown_either(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(hostile, monkeypatch, "sample", id="easy_vqa/test/3/0", run="demo-tuned")
    app.text_input(key="reviewer").set_value(HOSTILE[:80]).run()
    sample_id = "easy_vqa/test/3/0"
    line = Correction(
        correction_id="c" * 32, sample_id=sample_id, content_hash="h", action="note", note=HOSTILE,
        reviewer=HOSTILE[:80], at=datetime.now(UTC), run="demo-tuned",
    )  # fmt: skip
    append(hostile / "corrections", line)
    for page in ("sample", "corrections"):
        app.switch_page(f"app_pages/{page}.py").run()
        assert not app.exception
        assert not [text for text in _markdown_of(app) if any(mark in text for mark in _MARKS)]


def _with_rules(root: Path, rules: dict[str, dict[str, str]]) -> None:
    """Put rules into the manifest of the curated set, as a recipe from elsewhere would."""
    path = root / "curated" / "small" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["recipe"]["rules"] = rules
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize("page", ["thresholds", "curation", "sample", "overview"])
def test_the_text_of_a_rule_is_text(both: Path, monkeypatch: pytest.MonkeyPatch, page: str) -> None:
    quoted = HOSTILE.replace("'", "''")
    _with_rules(both, {"blurry": {"when": f"sharpness < 40 AND source <> '{quoted}'", "action": "drop"}})
    app = open_page(both, monkeypatch, page, id="t/train/blurred", why="t/train/blurred", set="small")
    assert not [text for text in _markdown_of(app) if any(mark in text for mark in _MARKS)]
    if page in ("thresholds", "curation"):
        drawn = [*(code.value for code in app.code), *(str(frame.value.to_dict()) for frame in app.dataframe)]
        assert any("onerror" in text for text in drawn), "the page shows the rule"


@pytest.mark.parametrize(
    "when",
    ["true; DROP TABLE facts", "sharpness < (SELECT 1 FROM read_text('/etc/passwd'))",
     "sharpness < 40 OR getenv('HOME') <> ''", "1 = 1) OR (COPY facts TO 'out.csv'"],
)  # fmt: skip
@pytest.mark.slow
def test_a_rule_that_is_no_condition_is_refused_and_run_nowhere(
    both: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    before = {path for path in both.rglob("*") if "cache" not in path.parts}
    _with_rules(both, {"blurry": {"when": when, "action": "drop"}})
    for page in ("thresholds", "curation"):
        app = open_page(both, monkeypatch, page, set="small", why="t/train/blurred")
        assert not app.exception and not app.slider
        shown = texts(app)
        assert any("rule" in text and "blurry" in text for text in shown), shown
        assert not any("root:" in text for text in shown)
    assert {path for path in both.rglob("*") if "cache" not in path.parts} == before


def _damage(root: Path, what: str) -> None:
    if what == "a table is gone":
        for name in ("decisions.parquet", "predictions.parquet", "losses.parquet"):
            for path in root.glob(f"*/*/{name}"):
                path.unlink()
    elif what == "tables are garbage":
        for path in root.rglob("*.parquet"):
            path.write_bytes(b"PAR1 broken")
    elif what == "the manifest is cut":
        for path in root.glob("*/*/manifest.json"):
            path.write_bytes(path.read_bytes()[:40])
    elif what == "the manifest is of another make":
        for path in root.glob("*/*/manifest.json"):
            path.write_text(json.dumps({"stage": "x", "recipe": {"old": 1}, "counts": []}))
    elif what == "no recipe":
        for path in root.glob("*/*/manifest.json"):
            path.write_text("{}")
    elif what == "columns are missing":
        kept = {"sample_id", "decision", "position", "image_key", "task"}
        for path in root.rglob("*.parquet"):
            table = pq.read_table(path)
            pq.write_table(table.select([name for name in table.column_names if name in kept]), path)
    elif what == "signals are gone":
        for name in ("signals", "work"):
            for path in root.glob(f"curated/*/{name}"):
                shutil.rmtree(path)
    elif what == "corrections are garbage":
        (root / "corrections").mkdir()
        (root / "corrections" / "x.jsonl").write_text('{"a": 1}\n[broken\n')
    elif what == "scores are garbage":
        for path in root.glob("evals/*/scores.json"):
            path.write_text('{"tasks": {"vqa": {"metrics": {"accuracy": 3}}}}')
        for path in root.glob("runs/*/metrics.jsonl"):
            path.write_text('{"step": "x", "loss": []}\n\x00')


@pytest.fixture
def both(small: Path, data: Path, tmp_path: Path) -> Path:
    """All kinds of folders in one place, for a test to break."""
    shutil.copytree(data / "evals", tmp_path / "evals")
    shutil.copytree(data / "runs", tmp_path / "runs")
    shutil.copytree(small / "curated", tmp_path / "curated")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize(
    "what",
    ["a table is gone", "tables are garbage", "the manifest is cut", "the manifest is of another make", "no recipe",
     "columns are missing", "signals are gone", "corrections are garbage", "scores are garbage"],
)  # fmt: skip
def test_folders_that_break_while_the_app_is_open(both: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    app = open_page(both, monkeypatch, "overview")
    _damage(both, what)
    for page in PAGES:
        app.query_params["id"] = "t/train/30" if what == "signals are gone" else "easy_vqa/test/0"
        app.query_params["why"] = "t/train/30"
        app.switch_page(f"app_pages/{page}.py").run()
        assert not app.exception, (page, app.exception)
        assert app.title, page
        if page == "sample" and [button for button in app.button if button.key == "nearest" and not button.disabled]:
            app.button(key="nearest").click().run()
            assert not app.exception, (page, "nearest", app.exception)
