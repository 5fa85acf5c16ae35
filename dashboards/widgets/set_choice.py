"""Which curated set, or which training run, a page is about; the choice is in the URL."""

from __future__ import annotations

import streamlit as st

from dashboards.query.catalog import Catalog, Folder, Kind
from dashboards.widgets.notice import broken_folders, nothing_yet

_LABELS = {"curated": ("Curated set", "set"), "runs": ("Training run", "training"), "evals": ("Evaluation", "run")}


def choose_folder(catalog: Catalog, kind: Kind) -> Folder | None:
    """The newest finished folder of a kind, or the one chosen where there are several; says so if there is none."""
    folders = catalog.finished(kind)
    if not folders:
        nothing_yet(kind)
        broken_folders(catalog)
        return None
    label, key = _LABELS[kind]
    name = st.selectbox(label, [folder.name for folder in folders], key=key, bind="query-params", width=360)
    return next((folder for folder in folders if folder.name == name), folders[0])
