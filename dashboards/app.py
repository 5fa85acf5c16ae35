"""The app: which pages there are. Run by Streamlit for every session; see ``asgi.py``."""

from pathlib import Path

import streamlit as st

from dashboards import state
from dashboards.components.filters import choose_runs
from dashboards.components.notices import problem
from dashboards.components.review import keyboard_help, name_box
from dashboards.widgets.brand import ICON, LOGO
from winnow.errors import UserError

st.set_page_config(page_title="Winnow", page_icon=ICON, layout="wide")
st.logo(LOGO, size="large")
st.html(Path(__file__).parent / "widgets" / "style.css")

_PAGES = {
    "": (
        ("overview", "Overview", ":material/insights:"),
        ("failures", "Failures", ":material/grid_view:"),
        ("sample", "Sample", ":material/image_search:"),
    ),
    "Model": (
        ("slices", "Slices", ":material/pie_chart:"),
        ("compare", "Compare", ":material/compare_arrows:"),
        ("training", "Training", ":material/trending_down:"),
    ),
    "Data": (
        ("curation", "Curation", ":material/filter_alt:"),
        ("thresholds", "Thresholds", ":material/tune:"),
        ("duplicates", "Duplicates", ":material/content_copy:"),
        ("corrections", "Corrections", ":material/rate_review:"),
    ),
}
page = st.navigation(
    {
        section: [
            st.Page(f"app_pages/{name}.py", title=title, icon=icon, url_path=name, default=name == "overview")
            for name, title, icon in pages
        ]
        for section, pages in _PAGES.items()
    },
    position="top",
)
choose_runs(state.catalog())
name_box()
keyboard_help()
try:
    page.run()
except UserError as error:  # a folder that broke while it was being shown
    problem(str(error))
