"""The loss curve, the sources that are hard to learn, and the rows with the highest loss."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import streamlit as st

from dashboards.components.charts import epoch_chart, loss_chart
from dashboards.components.filters import PAGE_SIZE, choose_folder, first_page, pager
from dashboards.components.navigation import Page
from dashboards.data.catalog import Catalog, Folder, scan
from dashboards.data.curated import cases_of
from dashboards.data.training import (
    LOSSES,
    Loss,
    SourceLoss,
    highest_losses,
    loss_curve,
    losses_by_source,
    losses_over_epochs,
)
from dashboards.review.button import review_button
from dashboards.review.gallery import row_cards
from dashboards.review.queues import Queue
from dashboards.settings import data_root

PAGE = Page(11, "Training", ":material/trending_down:", "Model")

_DECIMALS = {name: st.column_config.NumberColumn(format="%.3f") for name in ("Mean", "Median", "95th percentile")} | {
    "Rows": st.column_config.NumberColumn(format="localized")
}


def show() -> None:
    """Draw the page."""
    catalog = scan(data_root())
    st.title(PAGE.title)
    folder = choose_folder(catalog, "runs")
    if folder:
        _losses(catalog, folder)


def _losses(catalog: Catalog, folder: Folder) -> None:
    points = loss_curve(folder)
    if points:
        st.caption(f"{points[-1].step:,} steps, last loss {points[-1].loss:.3f} nats per token")
        st.altair_chart(loss_chart(points), alt="Training loss over steps")
    if not (folder.path / LOSSES).is_file():
        st.caption("This run recorded no loss per sample.")
        return
    sources = losses_by_source(folder)
    st.subheader("By source", help="Loss of each row in its last epoch, nats per trained token.")
    table = pd.DataFrame([asdict(source) for source in sources])
    table.columns = ["Source", "Rows", "Mean", "Median", "95th percentile"]
    st.dataframe(table, hide_index=True, key="by_source", column_config=_DECIMALS)
    epochs = losses_over_epochs(folder)
    if epochs and epochs[-1].epoch > 1:
        st.altair_chart(epoch_chart(epochs), alt="Mean loss of each source over the epochs")
    _hardest(catalog, folder, {source.source: source for source in sources})


def _hardest(catalog: Catalog, folder: Folder, sources: dict[str, SourceLoss]) -> None:
    st.subheader("Highest loss", help="A wrong answer stays hard to learn: look here for label errors.")
    source = st.selectbox(
        "Source", list(sources), index=None, placeholder="All sources", key="source", bind="query-params",
        on_change=first_page, width=360,
    )  # fmt: skip
    total = sources[source].rows if source else sum(known.rows for known in sources.values())
    listed = (("training", folder.name), *([("source", source)] if source else []))
    review_button(Queue("losses", listed), f"Review these {total:,}", key="review_losses")
    start = pager(total)
    losses = highest_losses(folder, source or "", start, PAGE_SIZE)
    sets = catalog.finished("curated")
    known = {curated.name: cases_of(curated, tuple(loss.sample_id for loss in losses)) for curated in sets}
    home = max(sets, key=lambda curated: len(known[curated.name]), default=None)
    if home is not None and known[home.name]:
        shown = [loss for loss in losses if loss.sample_id in known[home.name]]
        row_cards(home, [known[home.name][loss.sample_id] for loss in shown], "hard", [_note(loss) for loss in shown])
    else:
        st.dataframe(pd.DataFrame([asdict(loss) for loss in losses]), hide_index=True, key="hardest")
    st.caption(f"{start + 1:,}–{min(start + PAGE_SIZE, total):,} of {total:,} rows")


def _note(loss: Loss) -> str:
    return f"loss {loss.last:.2f}" if loss.first == loss.last else f"loss {loss.first:.2f} → {loss.last:.2f}"


if __name__ == "__main__":  # Streamlit runs the file; app.py imports it for PAGE
    show()
