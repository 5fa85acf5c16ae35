"""``load_view`` and the exports against the pages themselves."""

from __future__ import annotations

import ast
import csv
import gc
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.testclient import TestClient

import dashboards
from dashboards.components.export import notebook_lines
from dashboards.data.agreement import SideSpec, rows_at, side_rows
from dashboards.data.answers import answers_at, matching_rows
from dashboards.data.catalog import Folder, scan
from dashboards.data.comparison import rank_slices, terms
from dashboards.data.confusion import confusion
from dashboards.data.filters import NO_BASE, ORDERS, OUTCOMES, FilterSpec, resolve_filters
from dashboards.data.reviews import ReviewTarget, append, decide
from dashboards.settings import BASE_VARIABLE, DATA_VARIABLE
from dashboards.views import exports
from dashboards.views.rows import view_of
from tests.dashboards.pages import cards, open_page
from winnow.corrections import read_corrections
from winnow.errors import UserError


@pytest.fixture
def client(data: Path) -> Iterator[TestClient]:
    with TestClient(Starlette(routes=exports.export_routes(data)), base_url="http://127.0.0.1") as opened:
        yield opened


def test_a_view_is_the_page_in_its_order(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parameters = {"run": "demo-base", "base": "demo-tuned", "outcome": "All", "sort": "Best first"}
    shown = [
        card["id"]
        for page in ("1", "2")
        for card in cards(open_page(data, monkeypatch, "failures", page=page, **parameters))
    ]
    rows = dashboards.load_view(data, f"http://localhost:8501/x/failures?{urlencode(parameters)}&page=2")
    assert rows["sample_id"].tolist() == shown and len(shown) == 48
    assert dashboards.load_view(str(data), parameters).equals(rows)


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("order", ORDERS)
def test_every_outcome_and_order(data: Path, outcome: str, order: str) -> None:
    spec = FilterSpec(run="demo-tuned", base="demo-base", outcome=outcome, order=order)  # type: ignore[arg-type]
    view = resolve_filters(scan(data), spec)
    assert view
    rows = dashboards.load_view(data, spec.to_parameters())
    answers = answers_at(view.run, view.base, tuple(matching_rows(view).tolist()))
    assert rows["sample_id"].tolist() == [answer.sample_id for answer in answers]
    right = [None if pd.isna(value) else bool(value) for value in rows["right"]]
    assert right == [answer.correct for answer in answers]
    before = [None if pd.isna(value) else bool(value) for value in rows["baseline_right"]]
    assert before == [answer.base_correct for answer in answers]
    assert rows["baseline_answer"].tolist() == [answer.base_extracted for answer in answers]


def test_without_a_baseline_its_columns_are_not_there(data: Path) -> None:
    rows = dashboards.load_view(data, {"run": "demo-tuned", "base": NO_BASE, "where": ["question_type=color"]})
    stored = pq.read_schema(data / "evals" / "demo-tuned" / "predictions.parquet").names
    assert list(rows) == [*stored, "right"]
    assert set(rows["slice_question_type"]) == {"color"}


def test_runs_side_by_side(data: Path) -> None:
    names = ("demo-tuned", "demo-base")
    runs = tuple(folder for name in names if (folder := scan(data).find("evals", name)))
    spec = SideSpec(names, "vqa", order="Least agreement first", wrong=("demo-base",))
    wanted = rows_at(runs, "vqa", side_rows(runs, spec).tolist())
    rows = dashboards.load_view(data, f"side_by_side?{urlencode(spec.to_parameters(), doseq=True)}")
    assert rows["sample_id"].tolist() == [row.answers[0].sample_id for row in wanted] and len(rows)
    for place, name in enumerate(names):
        given = [row.answers[place] for row in wanted]
        assert rows[f"answer {name}"].tolist() == [
            answer.raw if answer.extracted is None else answer.extracted for answer in given
        ]
        assert rows[f"right {name}"].tolist() == [answer.correct for answer in given]
    assert rows["different_answers"].tolist() == [row.different for row in wanted]
    assert rows["runs_right"].tolist() == [sum(bool(answer.correct) for answer in row.answers) for row in wanted]


def test_cells_of_the_confusion_matrix(data: Path, tuned: Folder) -> None:
    rows = dashboards.load_view(data, "confusions?run=demo-tuned&slices_task=vqa")
    found = confusion(tuned, "vqa")
    assert found and int(rows["rows"].sum()) == int(found.counts.sum()) and len(rows) == np.count_nonzero(found.counts)
    cell = rows[(rows["expected"] == "yes") & (rows["answered"] == "yes")]["rows"].item()
    assert cell == found.counts[found.expected.index("yes"), found.answered.index("yes")]


def test_replaced_rows_of_a_set(small: Path) -> None:
    rows = dashboards.load_view(small, "duplicates?set=small")
    decisions = pd.read_parquet(small / "curated" / "small" / "decisions.parquet")
    wanted = decisions[decisions["representative"].notna() & (decisions["decision"] == "drop")]
    assert len(wanted) and sorted(rows["sample_id"]) == sorted(wanted["sample_id"])
    assert rows["duplicate_group"].is_monotonic_increasing


def test_lines_of_a_reviewer(own: Path) -> None:
    for sample_id, reviewer in (("s/1", "ana"), ("s/2", "=ben"), ("s/3", "ana")):
        target = ReviewTarget("evals", sample_id, "hash", "Is it?", ("yes",), "demo-tuned")
        append(own / "corrections", decide(target, "ambiguous", reviewer))
    rows = dashboards.load_view(own, "corrections?by=ana&states=active")
    assert sorted(rows["Sample"]) == ["s/1", "s/3"] and set(rows["State"]) == {"active"}
    assert dashboards.load_view(own, "corrections?states=undone").empty
    with TestClient(Starlette(routes=exports.export_routes(own)), base_url="http://127.0.0.1") as client:
        read = list(csv.DictReader(io.StringIO(client.get("/export/corrections.csv").text)))
    assert {row["Reviewer"] for row in read} == {"ana", "'=ben"}


def test_lines_tell_what_scores_made_of_them_as_the_page_does(own: Path) -> None:
    for sample_id in ("s/1", "s/2"):
        target = ReviewTarget("evals", sample_id, "hash", "Is it?", ("yes",), "demo-tuned")
        append(own / "corrections", decide(target, "ambiguous", "ana"))
    first = read_corrections(own / "corrections")[0]
    report = {"lines": {first.correction_id: "applied"}}
    (own / "evals" / "demo-base" / "corrections.json").write_text(json.dumps(report))
    told = dashboards.load_view(own, "corrections").set_index("Sample")["What became of it"]
    assert dict(told) == {"s/1": "applied in demo-base", "s/2": "not yet scored"}


def test_slices_are_those_of_the_page(tmp_path: Path, data: Path) -> None:
    frame = pd.concat(
        [
            pd.read_parquet(data / "evals" / "demo-tuned" / "predictions.parquet").assign(
                sample_id=lambda rows, n=n: rows["sample_id"] + f"/{n}",
                image_keys=lambda rows, n=n: [[f"{n:032d}{keys[0][:32]}"] for keys in rows["image_keys"]],
            )
            for n in range(4)
        ]
    )
    own = Path(shutil.copytree(data, tmp_path / "own"))
    frame.to_parquet(own / "evals" / "demo-tuned" / "predictions.parquet")
    run = scan(own).find("evals", "demo-tuned")
    assert run
    rows, ranking = dashboards.load_view(own, "slices?run=demo-tuned&slices_task=vqa"), rank_slices(run, "vqa")
    assert len(rows) and rows["excess"].tolist() == [ranked.excess.excess for ranked in ranking.slices]
    assert rows["slice"][0] == " and ".join(terms(ranking.slices[0]))


@pytest.mark.parametrize(
    ("view", "said"),
    [
        ("failures?run=nope", "holds no finished evaluation named 'nope'"),
        ("failures?base=../../etc", "holds no finished evaluation named '../../etc'"),
        ("side_by_side?runs=demo-tuned", "fewer than two runs"),
        ("side_by_side?runs=demo-tuned&runs=demo-base&right=x", "named 'x'"),
        ("overview", "'overview' has no rows to load; pages that have: failures"),
        ("", "'this page' has no rows"),
        ("slices?run=demo-tuned", "names no task"),
        ("confusions?slices_task=vqa", "names no run"),
        ("duplicates?set=nope", "no finished set named nope"),
    ],
)
def test_what_is_not_there_is_said(data: Path, view: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace(".", r"\.")):
        dashboards.load_view(data, view)


def test_no_evaluation(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished evaluation"):
        dashboards.load_view(tmp_path, "failures")


def test_the_routes_files_hold_the_same_rows(data: Path, client: TestClient) -> None:
    query = "run=demo-tuned&base=demo-base&outcome=All"
    rows = dashboards.load_view(data, f"failures?{query}")
    answer = client.get(f"/export/failures.parquet?{query}")
    assert answer.headers["content-disposition"] == 'attachment; filename="failures-demo-tuned.parquet"'
    assert pq.read_table(io.BytesIO(answer.content)).to_pandas().equals(rows)
    answer = client.get(f"/export/failures.csv?{query}")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8" and answer.headers["cache-control"] == "no-store"
    read = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [row["sample_id"] for row in read] == rows["sample_id"].tolist()
    assert [row["right"] for row in read] == [
        "" if pd.isna(value) else str(bool(value)).lower() for value in rows["right"]
    ]


@pytest.mark.parametrize(
    "path", ["/export/failures.xlsx", "/export/overview.csv", "/export/failures.csv?run=nope", "/export/..%2f.csv"]
)
def test_what_cannot_be_exported_is_a_sentence(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and "Traceback" not in answer.text


def test_a_hostile_name_stays_out_of_the_headers(data: Path, client: TestClient) -> None:
    answer = client.get("/export/corrections.csv?run=x%22%0d%0aSet-Cookie:%20a=b")
    assert answer.headers["content-disposition"] == 'attachment; filename="corrections-x_Set-Cookie_a_b.csv"'
    assert "set-cookie" not in answer.headers


def test_a_third_export_at_once_waits_its_turn(client: TestClient) -> None:
    with exports._AT_ONCE, exports._AT_ONCE:
        answer = client.get("/export/failures.csv")
        assert answer.status_code == 503 and "try again" in answer.text
    for _ in range(3):
        assert client.get("/export/failures.csv?run=nope").status_code == 404, "a failure gives its place back"
        assert client.get("/export/failures.csv").status_code == 200


def test_a_broken_table_is_a_sentence(own: Path) -> None:
    (own / "evals" / "demo-tuned" / "predictions.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(UserError, match="cannot be read"):
        dashboards.load_view(own, "failures?run=demo-tuned")


def test_the_lines_of_code_of_a_page_load_its_rows(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand on the page: run them, and compare with the cards."""
    app = open_page(data, monkeypatch, "failures", run="demo-tuned", base="demo-base")
    (lines,) = (code.value for code in app.code if "load_view" in code.value)
    names: dict[str, pd.DataFrame] = {}
    exec(lines, names)  # noqa: S102 - our own lines
    assert names["rows"]["sample_id"].tolist() == [card["id"] for card in cards(app)]


def test_any_name_is_written_as_python_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, "/odd 'folder\\n")
    call = ast.parse(notebook_lines("failures", {"q": "it's\n", "qt": ["a", "b"]})).body[-1].value  # type: ignore[attr-defined]
    folder, view = (ast.literal_eval(argument) for argument in call.args)
    assert folder == "/odd 'folder\\n" and view_of(view) == ("failures", {"q": ["it's\n"], "qt": ["a", "b"]})


@pytest.mark.parametrize(
    ("page", "view"), [("side_by_side", "side_by_side"), ("slices", "confusions"), ("failures", "failures")]
)
def test_pages_offer_their_rows(data: Path, monkeypatch: pytest.MonkeyPatch, page: str, view: str) -> None:
    app = open_page(data, monkeypatch, page)
    assert any(f"'{view}?" in code.value for code in app.code)


def test_replaced_rows_are_offered(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(small, monkeypatch, "duplicates")
    assert any("'duplicates?set=small'" in code.value for code in app.code)


def test_exports_that_nobody_waits_for_make_room(data: Path) -> None:
    (route,) = exports.export_routes(data)
    for _ in range(4):
        scope = {"type": "http", "method": "GET", "path_params": {"page": "failures", "format": "csv"}, "headers": [],
                 "path": "/", "query_string": b"run=demo-tuned", "server": ("127.0.0.1", 80),
                 "scheme": "http"}  # fmt: skip
        assert route.endpoint(Request(scope)).status_code == 200  # and never read
        gc.collect()


def test_exports_lie_below_the_base_path(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BASE_VARIABLE, "/winnow")
    link = exports.export_link("failures", "csv", {"run": "demo-tuned"})
    with TestClient(Starlette(routes=exports.export_routes(data)), base_url="http://127.0.0.1") as client:
        assert client.get(f"/winnow/{link}").headers["content-type"].startswith("text/csv")
        assert client.get(f"/{link}").status_code == 404
