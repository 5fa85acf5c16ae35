"""The dashboard. In a notebook, ``load_view`` gives the rows that a page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def load_view(data: str | Path, view: str | Mapping[str, str | Sequence[str]]) -> pd.DataFrame:
    """All rows of a page's view, in the order of the page.

    Args:
        data: the data folder, which holds ``evals/`` and ``curated/``.
        view: the page's address, with or without its host, such as ``failures?run=demo&outcome=Broken``;
            or the parameters of the failures page alone.

    Returns: a row for each row of the page. Of Failures, all columns of ``predictions.parquet``, ``right`` (true,
        false, or missing where no metric judges single rows), and with a baseline ``baseline_answer`` and
        ``baseline_right``.

    Raises:
        winnow.errors.UserError: the page has no rows, or the view names a run that is not there.

    Example:
        >>> load_view("data", "failures?run=demo&outcome=Wrong&qt=color")  # doctest: +SKIP
    """
    from dashboards.views.rows import reading, view_of  # here, so that ``dashboards --help`` stays fast

    if isinstance(view, str):
        page, parameters = view_of(view)
    else:
        page = "failures"
        parameters = {name: [value] if isinstance(value, str) else list(value) for name, value in view.items()}
    with reading(Path(data), page, parameters) as reader:
        rows: pd.DataFrame = reader.read_pandas()
    return rows
