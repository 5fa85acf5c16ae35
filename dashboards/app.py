"""The app: its pages and what stands beside all of them. Streamlit runs it for every session; see ``server.py``.

The pages are the modules of ``app_pages``; each says in its ``PAGE`` how the menu lists it. The folder is not called
``pages`` because Streamlit would take its files for an app of the old kind.
"""

import importlib
import pkgutil
from pathlib import Path

import streamlit as st

from dashboards import app_pages
from dashboards.components.cards import problem
from dashboards.components.filters import choose_runs
from dashboards.components.navigation import Page
from dashboards.components.review import keyboard_help, name_box
from dashboards.data.catalog import scan
from dashboards.review.button import remember_page
from dashboards.settings import data_root
from winnow.errors import UserError

# Name and logo are drawn as text, so that no font, icon or image is fetched from anywhere.
_FUNNEL = (
    '<path d="M6 8h28l-10.5 13v12l-7 4V21z" fill="#1c929d"/>'
    '<circle cx="12" cy="3.5" r="2.2" fill="#d08a1d"/><circle cx="21" cy="3.5" r="2.2" fill="#1c929d"/>'
    '<circle cx="30" cy="3.5" r="2.2" fill="#1c929d"/>'
)
_ICON = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40" width="40" height="40">{_FUNNEL}</svg>'
_LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 150 40" width="150" height="40">'
    f'{_FUNNEL}<text x="46" y="29" font-family="Source Sans, sans-serif" font-size="26" font-weight="700" '
    'fill="#1c929d">Winnow</text></svg>'
)


def menu() -> dict[str, list[st.Page]]:
    """Section → its pages, in order of their places."""
    found: dict[str, Page] = {
        module.name: importlib.import_module(f"{app_pages.__name__}.{module.name}").PAGE
        for module in pkgutil.iter_modules(app_pages.__path__)
    }
    sections: dict[str, list[st.Page]] = {}
    for number, (name, page) in enumerate(sorted(found.items(), key=lambda item: item[1].place)):
        sections.setdefault(page.section, []).append(
            st.Page(f"app_pages/{name}.py", title=page.title, icon=page.icon, url_path=name, default=number == 0)
        )
    return sections


st.set_page_config(page_title="Winnow", page_icon=_ICON, layout="wide")
st.logo(_LOGO, size="large")
st.html(Path(__file__).parent / "components" / "style.css")
chosen = st.navigation(menu(), position="top")
choose_runs(scan(data_root()))
name_box()
keyboard_help()
remember_page(chosen.url_path)
try:
    chosen.run()
except UserError as error:  # a folder that broke while it was being shown
    problem(str(error))
