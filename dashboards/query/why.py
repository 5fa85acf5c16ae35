"""Every rule of a curated set on one of its rows, as ``curate explain`` has it."""

from __future__ import annotations

import duckdb

from curate.rules.explain import RowExplanation, explain_row
from dashboards.query.catalog import MAKE, Folder, manifest_of
from winnow.errors import UserError


def why(folder: Folder, sample_id: str) -> RowExplanation:
    """The explanation of a row.

    Raises:
        UserError: the folder has no such row (near ids are named), or cannot be read.
    """
    if "recipe" not in manifest_of(folder):
        raise UserError(f"{folder.path}: its manifest holds no recipe; remake it with `{MAKE['curated']}`")
    try:
        return explain_row(folder.path, sample_id)
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder.path}: its signals cannot be read ({reason}); run `{MAKE['curated']}`") from error
