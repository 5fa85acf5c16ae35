"""The sample page: everything that the folders on disk know about one id."""

from __future__ import annotations

import streamlit as st

from dashboards import state
from dashboards.query.catalog import Catalog, Folder
from dashboards.query.commands import explain_answer, explain_row
from dashboards.query.decisions import Fate
from dashboards.query.samples import Said
from dashboards.query.subjects import subject_of
from dashboards.query.views import View
from dashboards.widgets.command import same_in_terminal
from dashboards.widgets.history import copies, curated_fate, leaks
from dashboards.widgets.nearest import nearest_panel
from dashboards.widgets.review_bar import review_bar
from dashboards.widgets.sample_card import images, question_and_references, said_by, slices
from dashboards.widgets.walk import walk


def choose_sample(shown: str) -> str:
    """A box that takes an id; returns it when it was entered, else ''."""
    label = "Go to another sample" if shown else "Id of a sample"
    row = st.form("choose_sample", border=False, width=560).container(horizontal=True, vertical_alignment="bottom")
    wanted = row.text_input(label, key="wanted_id", placeholder="source/split/number", icon=":material/search:")
    entered = row.form_submit_button("Open")
    if not shown:
        st.caption("Or open one from the gallery of failures.")
        st.page_link("app_pages/failures.py", label="Failures", icon=":material/grid_view:")
    return (wanted or "").strip() if entered else ""


def show_sample(catalog: Catalog, view: View | None, sample_id: str) -> None:
    """Image, question, references, answers of all runs, and what curation said."""
    runs, sets = tuple(catalog.finished("evals")), tuple(catalog.finished("curated"))
    said = state.answers_of_all(runs, sample_id)
    fates = state.fates(sets, sample_id)
    answered = [item for item in said if item.answer]
    if view:
        walk(view, next((item.answer for item in answered if item.run.name == view.run.name), None))
    if not answered and not fates:
        _unknown(sample_id, said)
        return
    left, right = st.columns([1, 3], gap="medium")
    with left:
        _image(answered, fates)
        st.code(sample_id, language=None, wrap_lines=True)
    with right:
        subject = subject_of(answered, fates)
        question_and_references(subject.question, subject.references)
        review_bar(subject)
        for item in _chosen_first(said, view):
            said_by(item, role=_role(item.run, view))
        keys = answered[0].answer.image_keys if answered and answered[0].answer else fates[0].image_keys
        own = "" if subject.kind == "evals" else fates[0].folder.name
        nearest_panel(sets, sample_id, keys, subject.question, subject.references, own)
        if sets:
            _curation(sets, answered, fates, sample_id)
        same_in_terminal(_commands(answered, fates, sample_id))


def _commands(answered: list[Said], fates: list[Fate], sample_id: str) -> str:
    lines = [explain_answer(item.run, sample_id) for item in answered]
    return "\n".join([*lines, *(explain_row(fate.folder, sample_id) for fate in fates)])


def _image(answered: list[Said], fates: list[Fate]) -> None:
    if answered and (answer := answered[0].answer):
        images(answered[0].run, answer.sample_id, answer.image_keys)
        slices(answer.slices)
    else:
        images(fates[0].folder, fates[0].sample_id, fates[0].image_keys)


def _chosen_first(said: list[Said], view: View | None) -> list[Said]:
    order = [folder.name for folder in (view.run, view.base) if folder] if view else []
    return sorted(said, key=lambda item: order.index(item.run.name) if item.run.name in order else len(order))


def _role(run: Folder, view: View | None) -> str:
    if view is None or run.name not in (view.run.name, view.base.name if view.base else ""):
        return ""
    return "run" if run.name == view.run.name else "compared with"


def _curation(sets: tuple[Folder, ...], answered: list[Said], fates: list[Fate], sample_id: str) -> None:
    st.subheader("What curation said")
    for fate in fates:
        curated_fate(fate)
    answer = answered[0].answer if answered else None
    for found in state.matches(sets, sample_id, answer.image_keys if answer else ()):
        if answer:
            leaks(found)
        copies(found)


def _unknown(sample_id: str, said: list[Said]) -> None:
    with st.container(border=True):
        st.markdown("**No run and no curated set knows this id**")
        st.text(sample_id)
        st.caption("Ids look like source/split/number and are case-sensitive.")
    for item in said:
        if item.problem:
            said_by(item, role="")
