"""What a curation counts: rows by decision, rule, source and split, and what was wrong with images."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.readers.facts import SourceFacts
from curate.report.contaminated import copies_by_kind, read_contamination_report
from curate.report.summaries import Summary
from curate.row_keys import shown_keys
from curate.rules.checked import CheckedRule
from curate.workspace import Workspace
from winnow.parquet.tables import database, parquet

NOT_SELECTED = "not_selected"  # the rule of ``curate.selection``, which no recipe has

# Paths of one class are counted together if their details differ only in names and numbers, but not in a setting that
# they name, as "found as a.jpg in img/; set `image_root: img`".
_IMAGE_ERRORS = r"""
    SELECT error, arg_min(error_detail, path) AS detail, count(*) AS images, min(path) AS example
    FROM {paths} SEMI JOIN (SELECT unnest(images) AS path FROM {rows}) USING (path)
    WHERE {wrong}
    GROUP BY error, regexp_replace(
        regexp_replace(coalesce(error_detail, ''), 'found as [^;]*', 'found'), '\d+|[''][^'']*['']', '…', 'g'
    ) ORDER BY images DESC, example LIMIT 20
"""


def count_rows(
    workspace: Workspace, summary: Summary, rules: list[CheckedRule], read: Sequence[SourceFacts]
) -> dict[str, Any]:
    """Rows by decision, by rule and by source, and what was found while reading, as the manifest holds them.

    ``rules``: each with ``fired`` (rows), ``reason`` (rows that it is the reason of: the step of
    the funnel) and ``alone`` (rows on which no other rule fired). ``image_errors``: image paths that cannot be used,
    by class and detail, the 20 most frequent.
    """
    decisions, reasons, fired = summary.decisions, summary.reasons, summary.fired
    keys = shown_keys(workspace)
    shown = [_distinct([part[of] for part in keys]) for of in (1, 0)]  # paths, images
    with database(workspace.work) as connection:
        errors = _image_errors(connection, workspace)
    actions = {rule.name: rule.action for rule in rules}
    columns = {rule.name: list(rule.expression.columns) for rule in rules}
    unvalidated = {rule.name: list(rule.unvalidated) for rule in rules}
    if "correction" in fired:
        actions["correction"] = "drop"
    if NOT_SELECTED in fired:
        actions[NOT_SELECTED] = "drop"
    corrections = json.loads(workspace.corrections.read_text(encoding="utf-8"))["counts"]
    return {
        "rows": sum(decisions.values()),
        "keep": decisions.get("keep", 0),
        "flag": decisions.get("flag", 0),
        "drop": decisions.get("drop", 0),
        "paths": shown[0],
        "images": shown[1],
        "image_errors": errors,
        "rules": [
            {
                "rule": name,
                "action": action,
                "columns": columns.get(name, []),
                "unvalidated": unvalidated.get(name, []),
                "fired": fired.get(name, (0, 0))[0],
                "reason": reasons.get(name, 0),
                "alone": fired.get(name, (0, 0))[1],
            }
            for name, action in actions.items()
        ],
        "sources": [
            {"source": name, "rows": sum(numbers), **dict(zip(("keep", "flag", "drop"), numbers, strict=True))}
            for name, numbers in summary.sources.items()
        ],
        "splits": _splits(workspace),
        "copies": copies_by_kind(summary.copies),
        "contamination": read_contamination_report(workspace),
        "corrections": corrections,
        "read": [facts.model_dump(mode="json") for facts in read],
    }


def _distinct(keys: Sequence[NDArray[np.uint64]]) -> int:
    """How many there are of all parts, but for 0, an image that cannot be read."""
    return int(np.count_nonzero(np.unique(np.concatenate([np.empty(0, np.uint64), *keys]))))


def _image_errors(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> list[dict[str, Any]]:
    paths = parquet([workspace.paths])
    wrong = "error IS NOT NULL AND error NOT IN ('wrong_extension', 'animated')"
    if not connection.execute(f"SELECT 1 FROM {paths} WHERE {wrong} LIMIT 1").fetchall():
        return []
    query = _IMAGE_ERRORS.format(paths=paths, rows=workspace.corrected.sql(), wrong=wrong)
    found: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return found


def _splits(workspace: Workspace) -> list[dict[str, Any]]:
    """Per source: its kept rows, in all and in each split; [] for a set that is not split."""
    if not workspace.splits.is_file():
        return []
    with database(workspace.work) as connection:
        found = connection.execute(f"""
            SELECT s.source, p.assigned_split, count(*)
            FROM {workspace.corrected.sql()} s JOIN {parquet([workspace.splits])} p USING (position)
            JOIN {parquet([workspace.decisions])} d USING (position)
            WHERE d.decision <> 'drop' GROUP BY 1, 2 ORDER BY min(s.position), 2
        """).fetchall()
    by_source: dict[str, dict[str, int]] = {}
    for source, split, count in found:
        by_source.setdefault(source, {})[split] = count
    return [{"source": name, "total": sum(rows.values()), "rows": rows} for name, rows in by_source.items()]
