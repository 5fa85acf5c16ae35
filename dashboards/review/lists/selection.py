"""The list of rows that were pointed at on a page, such as those in a lasso."""

from __future__ import annotations

from dashboards.data.catalog import Catalog
from dashboards.find.selections import open_selection
from dashboards.review.entries import Entries, Parameters, entries_in, last, nothing


def selection(catalog: Catalog, parameters: Parameters) -> Entries:
    """The rows of the kept selection ``name``, in the order in which they were chosen."""
    found = open_selection(catalog, last(parameters, "name"))
    if found is None or found.folder is None:
        reason = "This selection is no longer there: it was kept in the cache. Select the rows again."
        return nothing("Selected rows", reason)
    gone = f"{found.lost:,} of the selected rows are no longer in {found.folder.name}." if found.lost else ""
    return entries_in(f"Selected: {found.title}", found.folder, found.rows, gone)
