"""The file of saved views: any text survives, two writers lose nothing, a broken file is one sentence."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from dashboards.data.filters import FilterSpec
from dashboards.views.saved import FILE, SavedView, checked, delete_view, read_views, rename_view, save_view
from tests.dashboards.data.test_filters import specs
from tests.dashboards.pages import cards, open_page, table, texts
from winnow.errors import UserError

_NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=60).filter(str.strip)
_ODD = (
    "0429",
    "no",
    "null",
    "~",
    "2026-01-01",
    "- x",
    "a: b",
    "#1",
    "'",
    '"',
    "*a",
    "!b",
    "../../etc/passwd",
    "[x",
    "é…\u202e",
)


@settings(deadline=None, max_examples=50)  # each writes files to disk
@given(
    st.lists(
        st.tuples(_NAMES | st.sampled_from(_ODD), specs),
        max_size=4,
        unique_by=lambda item: " ".join(item[0].split()).casefold(),
    )
)
def test_any_name_and_any_view_survive_the_file(items: list[tuple[str, FilterSpec]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        saved = []
        for number, (name, spec) in enumerate(items):
            at = datetime(2026, 1, 2, 3, 4, number, tzinfo=UTC)
            view = checked(name=name, page="failures", parameters=spec.to_parameters(), by=f"ana {number}", at=at)
            save_view(data, view)
            saved.append(view)
        assert read_views(data) == tuple(saved)
        for view, (_, spec) in zip(read_views(data), items, strict=True):
            assert FilterSpec.from_parameters(parse_qs(urlsplit(view.address).query)) == spec
        assert {path.name for path in data.iterdir()} <= {FILE, f".{FILE}.lock"}, "a name is never a path"


def test_a_line_break_that_yaml_writers_forget(tmp_path: Path) -> None:
    view = checked(name="x", page="failures", parameters={"q": "a\x85b", "qt": ["é"]})
    save_view(tmp_path, view)
    assert read_views(tmp_path) == (view,)


def _view(name: str) -> SavedView:
    return checked(name=name, page="failures", parameters={"outcome": "Broken", "qt": ["color"]})


def test_names_are_taken_once_in_whatever_case(tmp_path: Path) -> None:
    save_view(tmp_path, _view(" Broken   colours "))
    assert read_views(tmp_path)[0].name == "Broken colours"
    with pytest.raises(UserError, match="already a view named 'broken COLOURS'"):
        save_view(tmp_path, _view("broken COLOURS"))
    save_view(tmp_path, _view("other"))
    with pytest.raises(UserError, match="already a view named 'Other'"):
        rename_view(tmp_path, "Broken colours", "Other")
    rename_view(tmp_path, "Broken colours", "broken Colours")
    assert [view.name for view in read_views(tmp_path)] == ["broken Colours", "other"]
    delete_view(tmp_path, "other")
    for change in (lambda: delete_view(tmp_path, "other"), lambda: rename_view(tmp_path, "other", "x")):
        with pytest.raises(UserError, match="no view named 'other' any more"):
            change()
    assert read_views(tmp_path)[0].parameters == {"outcome": "Broken", "qt": ["color"]}


@pytest.mark.parametrize("name", ["", "   ", "x" * 121, "a\x00b", "\ud800"])
def test_a_name_is_a_line_of_text(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="the view: name: "):
        _view(name)


def test_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(
        "views:\n- name: 0429  # of April\n  page: slices\n  parameters: {run: no, qt: [1, on]}\n"
    )
    assert read_views(tmp_path) == (SavedView(name="0429", page="slices", parameters={"run": "no", "qt": ["1", "on"]}),)
    (tmp_path / FILE).write_text("")
    assert read_views(tmp_path) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("views: [", "not valid YAML"),
        ("- a", "is a mapping of keys to values"),
        ("views: 3", "views: "),
        ("views: [{page: failures}]", "'views.0.name' is missing"),
        ("views: [{name: a, page: failures, sql: x}]", "unknown key 'views.0.sql'"),
        ("views: [{name: a, page: //evil.example}]", "views.0.page: "),
        ("views: [{name: a, page: 'javascript:x'}]", "views.0.page: "),
        ("views: [{name: a, page: x}, {name: A, page: x}]", "two views are named 'A'"),
        ("views: [{name: a, page: x, parameters: {q: {z: 1}}}]", "views.0.parameters"),
        ("views: [{name: a, page: x, at: yesterday}]", "views.0.at"),
        ("views: &a [*a]", "aliases"),
        ("\x00", "views.yaml"),
    ],
)
def test_a_broken_file_is_a_sentence_and_stays_as_it_is(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / FILE
    path.write_text(text)
    for call in (lambda: read_views(tmp_path), lambda: save_view(tmp_path, _view("new"))):
        with pytest.raises(UserError) as caught:
            call()
        assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert path.read_text() == text


def test_no_view_of_two_people_is_lost(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: save_view(tmp_path, _view(f"view {number}")), range(40)))
    assert sorted(view.name for view in read_views(tmp_path)) == sorted(f"view {number}" for number in range(40))


def test_a_write_that_fails_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(target: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    save_view(tmp_path, _view("kept"))
    monkeypatch.setattr("dashboards.views.saved.write_text", full)
    with pytest.raises(UserError, match="cannot be written \\(No space left on device\\)"):
        save_view(tmp_path, _view("new"))
    assert [view.name for view in read_views(tmp_path)] == ["kept"]


def _pressed(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception, app.exception
    return app


def _listed(app: AppTest) -> list[dict[str, str]]:
    return [row[0] for row in table(app, "Saved views") or ()]


def test_save_open_rename_delete(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "failures", run="demo-base", outcome="All", qt="color")
    shown = [card["id"] for card in cards(app)]
    app.text_input(key="views_name").set_value("**Colours** of the base")
    app.session_state["reviewer_name"] = "Ana"
    (row,) = _listed(_pressed(app, "views_save"))
    assert row["text"] == "**Colours** of the base" and app.text_input(key="views_name").value == ""
    (saved,) = read_views(own)
    assert saved.at is not None and saved.by == "Ana"
    address = urlsplit(row["href"])
    parameters = {name: values[-1] for name, values in parse_qs(address.query).items()}
    again = open_page(own, monkeypatch, address.path, **parameters)
    assert [card["id"] for card in cards(again)] == shown and again.selectbox(key="run").value == "demo-base"
    again.selectbox(key="views_chosen").set_value(saved.name).run()
    again.text_input(key="views_new_name").set_value("colours").run()
    assert [row["text"] for row in _listed(_pressed(again, "views_rename"))] == ["colours"]
    again.selectbox(key="views_chosen").set_value("colours").run()
    assert not _listed(_pressed(again, "views_delete")) and read_views(own) == ()


@pytest.mark.parametrize("spoil", [lambda own: (own / FILE).write_text("views: [")])
def test_the_page_lives_on_with_a_broken_file(
    own: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None]
) -> None:
    spoil(own)
    app = open_page(own, monkeypatch, "failures")
    assert cards(app) and any("views.yaml" in text and "not valid YAML" in text for text in texts(app))


def test_a_taken_name_is_said_on_the_page(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_view(own, _view("colours"))
    app = open_page(own, monkeypatch, "side_by_side")
    app.text_input(key="views_name").set_value("Colours")
    _pressed(app, "views_save")
    assert any("already a view named 'Colours'" in text for text in texts(app)) and len(read_views(own)) == 1
