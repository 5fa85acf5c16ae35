"""The page Find in Streamlit's own test harness, on a set that was curated for real."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs

import pandas as pd
import pytest

from dashboards.data.catalog import scan
from dashboards.find import selections
from dashboards.find.embed import embed_missing
from dashboards.find.search import pictured_run
from tests.dashboards.pages import captions, cards, open_page


@pytest.fixture(scope="module")
def embedded(found: Path) -> Path:
    catalog = scan(found)
    run, folder = catalog.find("evals", "demo-tuned"), catalog.find("curated", "small")
    assert run and folder
    embed_missing(run, folder, lambda done, total: None)
    assert (again := pictured_run(run, folder)) and again.missing == 0
    return found


def _wrong(root: Path) -> pd.DataFrame:
    table = pd.read_parquet(root / "evals" / "demo-tuned" / "predictions.parquet")
    return table[(table["accuracy"] < 0.5) | (table["status"] != "ok")]


def test_a_text_finds_failures_and_training_rows(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(embedded, monkeypatch, "find", run="demo-tuned", shows="a red circle")
    shown = cards(app)
    assert 0 < len(shown) <= 24 and {card["id"] for card in shown} <= set(_wrong(embedded)["sample_id"])
    assert len({card["image"].split("?")[0] for card in shown}) == len(shown), "one card a picture"
    assert "nearest pictures" in captions(app) and "Cosines" in captions(app)


def test_pictures_like_a_row(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = _wrong(embedded).iloc[0]
    app = open_page(embedded, monkeypatch, "find", run="demo-tuned", like=wrong["sample_id"])
    shown = cards(app)
    assert shown and not any(wrong["image_keys"][0] in card["image"] for card in shown)
    app = open_page(embedded, monkeypatch, "find", run="demo-tuned", like="no/such/row")
    assert "No embedded picture belongs to this row" in app.info[0].value


def test_review_opens_the_rows_that_were_found(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(embedded, monkeypatch, "find", run="demo-tuned", shows="a red circle", find_by="By text or picture")
    app.button(key="review_hits_answers").click().run()
    assert not app.exception
    carried = parse_qs(str(app.query_params["view"]))
    assert carried["list"] == ["selection"]
    stored = pd.read_parquet(embedded / "cache" / "selections" / f"{carried['name'][0]}.parquet")
    assert set(stored["sample_id"]) <= set(_wrong(embedded)["sample_id"]) and len(stored)


def test_a_button_that_reviews_a_part_says_so(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selections, "MOST", 2)
    app = open_page(embedded, monkeypatch, "find", run="demo-tuned", shows="a red circle")
    label = app.button(key="review_hits_answers").label
    found = re.fullmatch(r"Review the first 2 of (\d+) rows", label)
    assert found and int(found[1]) > 2
    app.button(key="review_hits_answers").click().run()
    name = parse_qs(str(app.query_params["view"]))["name"][0]
    assert len(pd.read_parquet(embedded / "cache" / "selections" / f"{name}.parquet")) == 2


def test_groups_are_named_and_opened(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(embedded, monkeypatch, "find", run="demo-tuned", find_by="In groups", group_count="4")
    assert f"{len(_wrong(embedded)):,} wrong answers under these filters" in captions(app)
    sizes = [int(line.split()[0]) for line in captions(app).splitlines() if "points" in line and "against all" in line]
    assert sum(sizes) == len(_wrong(embedded)) and len(sizes) == 4
    app.button(key="group_open_0").click().run()
    assert not app.exception and f"{sizes[0]:,} rows" in captions(app)
    assert len(cards(app)) == min(sizes[0], 24)


def test_the_map_is_drawn(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(embedded, monkeypatch, "find", run="demo-tuned", find_by="On a map", map_by="PCA")
    for _ in range(100):  # it is made in the background
        if "embedded pictures" in captions(app):
            break
        app.run()
    assert "first two principal components" in captions(app) and "All 50 embedded pictures" in captions(app)


def test_without_embeddings_the_page_says_which_key_is_missing(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(data, monkeypatch, "find")
    assert "add `clip` under `signals:`" in app.info[0].value
