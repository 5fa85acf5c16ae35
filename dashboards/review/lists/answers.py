"""Lists of answers of an evaluation: those of the failures page, and a random sample for an audit."""

from __future__ import annotations

from dashboards.data.agreement import SideSpec, chosen_runs, panel, side_rows
from dashboards.data.answers import matching_rows
from dashboards.data.audit import audit_sample
from dashboards.data.catalog import Catalog, Folder
from dashboards.data.engine import cached
from dashboards.data.filters import FilterSpec, View, resolve_filters
from dashboards.review.entries import Entries, Parameters, entries_in, nothing, number
from dashboards.review.lists.folders import named

AUDITED = 200  # answers of an audit


def answers(catalog: Catalog, parameters: Parameters) -> Entries:
    """The answers of a run under the filters of the failures page."""
    view = resolve_filters(catalog, FilterSpec.from_parameters(parameters))
    return nothing("Answers", "There is no evaluation yet.") if view is None else _of_view(view)


@cached(16)
def _of_view(view: View) -> Entries:
    what = "Answers" if view.spec.outcome == "All" else f"{view.spec.outcome} answers"
    return entries_in(f"{what} of {view.run.name}", view.run, matching_rows(view))


def audit(catalog: Catalog, parameters: Parameters) -> Entries:
    """A random sample of right and wrong answers, as many of each, in random order.

    ``draw`` is the number of the sample, from 1; ``size`` how many answers it holds.
    """
    run = named(catalog, "evals", parameters, "run")
    if not isinstance(run, Folder):
        return run
    return _audit(run, number(parameters, "draw", 1), number(parameters, "size", AUDITED))


@cached(16)
def _audit(run: Folder, draw: int, size: int) -> Entries:
    rows = audit_sample(run, draw, size)
    problem = "" if len(rows) else "No metric of this run judges single answers."
    return entries_in(f"Audit {draw} of {run.name}", run, rows, problem)


def side_by_side(catalog: Catalog, parameters: Parameters) -> Entries:
    """The rows that the page of several runs lists, as those of its first run."""
    spec = SideSpec.from_parameters(parameters)
    runs = chosen_runs(catalog, spec.runs)
    if len(runs) < 2:
        return nothing("Rows of several runs", "Fewer than two of the runs are still there.")
    rows = panel(runs, spec.task).rows[0][side_rows(runs, spec)]
    return entries_in(
        f"{spec.pattern} in {len(runs)} runs" if spec.pattern != "Any" else "Runs side by side", runs[0], rows
    )
