"""The form of a recipe: a field for each key, or the recipe as YAML; both hold the same recipe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from dashboards.jobs.fields import Field, fields_of, leaves, sections
from dashboards.jobs.form import Entries, Entry, entries_of, values_of_entries
from dashboards.jobs.recipe_text import text_of, values_of
from dashboards.jobs.stages import StageForm
from winnow.errors import UserError
from winnow.text import counted

Suggest = Callable[[tuple[str, ...]], Sequence[str]]
_SOURCE, _TEXT, _ROUND, _MODE = "recipe_source", "recipe_text", "recipe_round", "recipe_mode"
_COLUMNS = 3


def edited_recipe(source: tuple[str, ...], text: str, form: StageForm, suggest: Suggest) -> str:
    """Draw a recipe for editing; returns its text as it stands now.

    Args:
        source: what was chosen to start from; another one, or another ``text``, begins anew.
        suggest: values to choose from for a key.

    Raises:
        UserError: what stands in a field is no YAML.
    """
    if st.session_state.get(_SOURCE) != (*source, text):
        st.session_state[_SOURCE] = (*source, text)
        _begin_with(text)
    mode = st.segmented_control(
        "Edit as", ["Form", "YAML"], default="Form", required=True, key=_MODE, on_change=_keep, args=(form,),
        label_visibility="collapsed",
    )  # fmt: skip
    if mode == "Form":
        try:
            _draw_form(form, suggest)
        except UserError as error:
            st.text(f"{error}. Mend it as YAML.")
            return str(st.session_state[_TEXT])
    else:
        st.text_area(
            "Recipe", st.session_state[_TEXT], height=420, key=_key("yaml"), label_visibility="collapsed",
            max_chars=200_000,
        )  # fmt: skip
    return _now(form, mode)


def _begin_with(text: str) -> None:
    st.session_state[_TEXT] = text
    st.session_state[_ROUND] = st.session_state.get(_ROUND, 0) + 1  # other keys: widgets take the new values


def _keep(form: StageForm) -> None:
    """Carry what stands in one kind of editor into the other."""
    left = "YAML" if st.session_state[_MODE] == "Form" else "Form"
    try:
        _begin_with(_now(form, left))
    except UserError:  # a faulty field stays in its editor, which names the fault
        st.session_state[_MODE] = left


def _now(form: StageForm, mode: str) -> str:
    text = str(st.session_state[_TEXT])
    if mode == "YAML":
        return str(st.session_state.get(_key("yaml"), text))
    fields, base = fields_of(form.model), values_of(text)
    entries: Entries = {}
    for path, before in entries_of(fields, base).items():
        entry = st.session_state.get(_key(*path), before)
        kept = tuple(entry) if isinstance(entry, list) else entry
        entries[path] = "" if kept is None and isinstance(before, str) else kept
    values = values_of_entries(fields, base, entries)
    return text if values == base else text_of(values)


def _key(*path: str) -> str:
    return f"recipe_{st.session_state[_ROUND]}_{'.'.join(path)}"


def _draw_form(form: StageForm, suggest: Suggest) -> None:
    fields = fields_of(form.model)
    entries = entries_of(fields, values_of(str(st.session_state[_TEXT])))
    by_name = {field.path[0]: field for field in fields}
    _draw_fields([by_name[name] for name in form.first], entries, suggest)
    others = [field for field in fields if field.path[0] not in form.first]
    if others:
        with st.expander(f"More settings ({len(leaves(tuple(others)))})", key="more_settings"):
            _draw_fields(others, entries, suggest)


def _draw_fields(fields: Sequence[Field], entries: Entries, suggest: Suggest) -> None:
    """Short fields side by side, then those that need lines, then sections."""
    short = [field for field in fields if not _needs_lines(field, entries)]
    if short:
        with st.grid(_COLUMNS, gap="small"):
            for field in short:
                _draw(field, entries[field.path], suggest)
    for field in fields:
        if field.kind == "section":
            _draw_section(field, entries, suggest)
        elif field not in short:
            _draw(field, entries[field.path], suggest)


def _needs_lines(field: Field, entries: Entries) -> bool:
    entry = entries.get(field.path)
    return field.kind in ("section", "texts") or field.wide or (isinstance(entry, str) and "\n" in entry)


def _draw_section(field: Field, entries: Entries, suggest: Suggest) -> None:
    with st.container(border=True):
        name = field.path[-1]
        if not field.optional:
            st.markdown(f"**{name}**", help=plain(field.help))
        elif not st.checkbox(name, bool(entries[field.path]), key=_key(*field.path), help=plain(field.help)):
            return
        few = [each for each in field.fields if each.required]
        if few:
            _draw_fields(few, entries, suggest)
        rest = [each for each in field.fields if not each.required]
        if rest and any(_is_set(each, entries) for each in rest):
            _draw_fields(rest, entries, suggest)
        elif rest:
            with st.expander(f"{counted(len(leaves(tuple(rest))), 'setting')} of {name}, at default"):
                _draw_fields(rest, entries, suggest)


def _is_set(field: Field, entries: Entries) -> bool:
    inside = [*leaves((field,)), *(one for one in sections((field,)) if one.optional)]
    return any(entries[one.path] not in ("", None, (), False) or entries[one.path] is True for one in inside)


def _draw(field: Field, entry: Entry, suggest: Suggest) -> None:
    label = field.path[-1] + (" *" if field.required else "")
    shared: dict[str, Any] = {"key": _key(*field.path), "help": plain(field.help) or None}
    placeholder = f"{field.default} (default)" if field.default else ""
    known = list(suggest(field.path))
    if field.kind == "switch":
        st.selectbox(
            label, [True, False], index=None if entry is None else (True, False).index(bool(entry)),
            format_func=lambda on: "yes" if on else "no", placeholder=placeholder or "not set", **shared,
        )  # fmt: skip
    elif field.kind == "choice":
        index = field.choices.index(entry) if isinstance(entry, str | int) and entry in field.choices else None
        st.selectbox(label, field.choices, index=index, placeholder=placeholder or "not set", **shared)
    elif field.kind == "texts":
        chosen = list(entry) if isinstance(entry, tuple) else []
        options = list(dict.fromkeys([*chosen, *known]))
        st.multiselect(
            label, options, chosen, accept_new_options=True, placeholder="Choose, or type and press Enter", **shared
        )
    elif isinstance(entry, str) and (field.wide or "\n" in entry):
        height = min(max(68, 28 * (entry.count("\n") + 1) + 24), 360)
        st.text_area(label, entry, height=height, placeholder=placeholder or "YAML", **shared)
    elif known:
        options = list(dict.fromkeys([*([str(entry)] if entry else []), *known]))
        st.selectbox(
            label, options, index=0 if entry else None, accept_new_options=True,
            placeholder=placeholder or "Choose or type", **shared,
        )  # fmt: skip
    else:
        st.text_input(label, str(entry or ""), placeholder=placeholder, **shared)


def plain(text: str) -> str:
    """A text with Markdown's signs escaped, for the places where Streamlit reads Markdown."""
    return "".join(f"\\{each}" if each in "\\`*_{}[]<>#|~$:" else each for each in text)
