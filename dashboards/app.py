"""The app: which pages there are. Run by Streamlit for every session; see ``asgi.py``."""

from pathlib import Path

import streamlit as st

from curate.errors import UserError
from dashboards import state
from dashboards.widgets.brand import ICON, LOGO
from dashboards.widgets.notice import problem
from dashboards.widgets.run_choice import choose_runs

st.set_page_config(page_title="Winnow", page_icon=ICON, layout="wide")
st.logo(LOGO, size="large")
st.html(Path(__file__).parent / "widgets" / "style.css")

page = st.navigation(
    [
        st.Page(
            "app_pages/overview.py", title="Overview", icon=":material/insights:", url_path="overview", default=True
        ),
        st.Page("app_pages/failures.py", title="Failures", icon=":material/grid_view:", url_path="failures"),
        st.Page("app_pages/sample.py", title="Sample", icon=":material/image_search:", url_path="sample"),
    ],
    position="top",
)
choose_runs(state.catalog())
try:
    page.run()
except UserError as error:  # a folder that broke while it was being shown
    problem(str(error))
