"""Lists of training rows: those that are hardest to learn, and those nearest to a failure."""

from __future__ import annotations

from dashboards.data.answers import answers_of
from dashboards.data.catalog import Catalog, Folder
from dashboards.data.curated import row_decision
from dashboards.data.engine import cached
from dashboards.data.training import LOSSES, loss_rows, row_losses, trained_on
from dashboards.find.neighbors import nearest as nearest_images
from dashboards.review.entries import Entries, Parameters, entries_in, last, nothing, rows_of_ids
from dashboards.review.lists.folders import named

_IMAGES = 24  # nearest images whose rows are listed


def losses(catalog: Catalog, parameters: Parameters) -> Entries:
    """The rows that a training run learned, the highest last loss first; ``source`` takes those of one source."""
    run = named(catalog, "runs", parameters, "training")
    if not isinstance(run, Folder):
        return run
    title = f"Highest losses of {run.name}"
    if not (run.path / LOSSES).is_file():
        return nothing(title, f"{run.name} recorded no loss per sample.")
    curated = trained_on(run, tuple(catalog.finished("curated")))
    if curated is None:
        return nothing(title, f"The curated set that {run.name} was trained on is not in this data folder.")
    return _losses(run, curated, last(parameters, "source"))


@cached(8)
def _losses(run: Folder, curated: Folder, source: str) -> Entries:
    title = f"Highest losses of {run.name}{f', source “{source}”' if source else ''}"
    if source and source not in row_losses(run).source.values:
        return nothing(title, f"{run.name} has no row of a source named “{source}”.")
    return entries_in(title, curated, loss_rows(run, curated, source))


def nearest(catalog: Catalog, parameters: Parameters) -> Entries:
    """The rows of a curated set whose images are nearest to the image of row ``id``, the nearest image first."""
    folder = named(catalog, "curated", parameters, "set")
    if not isinstance(folder, Folder):
        return folder
    run = catalog.find("evals", last(parameters, "run")) or next(iter(catalog.finished("evals")), None)
    return _nearest(folder, run, last(parameters, "id"))


@cached(16)
def _nearest(folder: Folder, run: Folder | None, sample_id: str) -> Entries:
    title = f"Training rows nearest to {sample_id}"
    keys: tuple[str | None, ...] = ()
    question, references = "", tuple[str, ...]()
    own = row_decision(folder, sample_id)
    if asked := answers_of(run, sample_id) if run else []:
        keys, question, references = asked[0].image_keys, asked[0].question, asked[0].references
    elif own:
        keys, question, references = own.image_keys, own.question, own.answers
    key = next((key for key in keys if key), None)
    if key is None:
        return nothing(title, "No run and no set of this data folder has a row with this id and an image.")
    found = nearest_images(folder, key, question, references, of_training=own is not None, count=_IMAGES)
    ids = dict.fromkeys(row.sample_id for neighbor in found.neighbors for row in neighbor.rows)
    rows = rows_of_ids(folder, tuple(name for name in ids if name != sample_id))
    return entries_in(title, folder, rows, found.problem)
