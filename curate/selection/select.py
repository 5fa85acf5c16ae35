"""``curate select``: a curated folder that keeps the chosen rows of another one and drops the others.

It is a whole curated folder, whose measurements are links to those of the set: `finetune` trains on it, the dashboard
shows it, and every row that was not chosen is in the ledger with the rule ``not_selected``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.duplicates.hamming import Indices
from curate.pipeline import Curation
from curate.recipe import all_rules, read_finished
from curate.report.counts import NOT_SELECTED
from curate.rules.columns import column_types
from curate.rules.decide import check_rules
from curate.rules.decisions import DECISIONS
from curate.selection.strategies import STRATEGIES, ordered
from curate.views import create_views
from curate.workspace import Workspace, copy_measurements, sole_use
from winnow.errors import UserError, did_you_mean
from winnow.parquet.tables import database, parquet, query_batches, write_parquet
from winnow.remote.addresses import local, shown
from winnow.remote.published import published
from winnow.run import MANIFEST, Stages, read_manifest

_DECIDED = """
    SELECT d.* EXCLUDE (out) REPLACE (
        CASE WHEN out THEN 'drop' ELSE decision END AS decision,
        CASE WHEN out THEN '{rule}' ELSE reason END AS reason,
        CASE WHEN out THEN list_append(rules, {{
            'rule': '{rule}', 'action': 'drop', 'expression': $expression, 'values': NULL, 'threshold': NULL,
            'related_row': NULL}}) ELSE rules END AS rules)
    FROM (
        SELECT d.*, decision <> 'drop' AND c.position IS NULL AS out
        FROM {decisions} d LEFT JOIN chosen c USING (position)
    ) d ORDER BY position
"""


@dataclass(frozen=True)
class Selection:
    """What was chosen; the manifest of the folder holds it under ``selection``.

    Attributes:
        of: the folder of the set.
        made_from: what identifies its rows and decisions: the digests of its outputs.
        strategy: key of ``STRATEGIES``.
        columns: of ``quality``.
        per: of ``balanced``.
        budget: as it was given, e.g. ``20%``.
        seed: of everything that is random.
    """

    of: str
    made_from: dict[str, str]
    strategy: str
    columns: tuple[str, ...]
    per: str | None
    budget: str
    seed: int

    @property
    def label(self) -> str:
        """The strategy with what it goes by, in words."""
        more = " ".join([*self.columns, *([f"per {self.per}"] if self.per else [])])
        return f"{self.strategy} {more}".strip()


def select(
    source: Path,
    budget: str,
    strategy: str,
    out: Path | None = None,
    *,
    columns: tuple[str, ...] = (),
    per: str | None = None,
    seed: int = 0,
) -> list[tuple[Path, dict[str, Any], bool]]:
    """Write the selection, and beside it, as ``<out>-random``, as many random rows.

    Args:
        source: a finished curated folder.
        budget: ``20%`` of the kept rows, or a number of rows.
        strategy: key of ``STRATEGIES``.
        out: the folder; by default ``<source>-<strategy>-<budget>``.
        columns, per: see ``strategies.ordered``.
        seed: decides ties, random rows and k-means.

    Returns:
        Of each folder: path, counts, whether it was there already.

    Raises:
        UserError: bad input, an unfinished set, or a folder that is something else.
    """
    if strategy not in STRATEGIES:
        raise UserError(f"--by {strategy}: no such strategy; {did_you_mean(strategy, STRATEGIES)}")
    if columns and strategy != "quality":
        raise UserError(f"--column ranks rows of `--by quality`; leave it out with --by {strategy}")
    if per and strategy != "balanced":
        raise UserError(f"--per groups rows of `--by balanced`; leave it out with --by {strategy}")
    manifest = read_manifest(source, finish_with="curate run RECIPE")
    if manifest.get("stage") != "curate":
        raise UserError(f"{source}: was not made by `curate run`; give the folder of a curation")
    kept = manifest["counts"]["keep"] + manifest["counts"]["flag"]
    rows_wanted(budget, kept)
    made_from = {name: digest for name, digest in manifest["outputs"].items() if "/" not in name}
    made_from = {name: made_from[name] for name in ("decisions.parquet", "samples.jsonl") if name in made_from}
    named = budget.replace("%", "pct").replace(" ", "")
    out = local(out) if out else source.with_name(f"{source.name}-{strategy}-{named}{f'-seed{seed}' if seed else ''}")
    asked = [(out, Selection(shown(source.resolve()), made_from, strategy, columns, per, budget, seed))]
    if strategy != "random":
        baseline = Selection(shown(source.resolve()), made_from, "random", (), None, budget, seed)
        asked.append((out.with_name(f"{out.name}-random"), baseline))
    return [_write(source, folder, selection) for folder, selection in asked]


def rows_wanted(budget: str, kept: int) -> int:
    """A budget in rows, at least one; ``20%`` is rounded down.

    Raises:
        UserError: neither a share above 0% and up to 100% nor a number of rows that the set has.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", budget)
    if found:
        amount = float(found[1])
        if found[2] and 0 < amount <= 100:
            return max(1, int(kept * amount / 100 + 1e-9))
        if not found[2] and amount.is_integer() and 1 <= amount <= kept:
            return int(amount)
    raise UserError(
        f"--budget {budget}: give a share such as 20%, or a number of rows from 1 to {kept:,}, which are kept"
    )


def _write(source: Path, out: Path, selection: Selection) -> tuple[Path, dict[str, Any], bool]:
    target = Workspace(out)
    described = {**asdict(selection), "columns": list(selection.columns)}
    if (out / MANIFEST).is_file():
        there = read_manifest(out, finish_with="")
        if there.get("selection") == described:
            return out, there["counts"], True
        if "selection" not in there:
            raise UserError(f"{out}: exists and is no selection; give another folder with --out")
    recipe, manifest = read_finished(source)
    copy_measurements(Workspace(source), target)
    recipe = recipe.model_copy(update={"name": out.name, "out": out, "exports": []})
    rules = check_rules(all_rules(recipe), recipe.signals.scores)
    with sole_use(target), published(target.folder):
        with database(target.work) as connection:
            create_views(connection, target, recipe.losses)
            connection.execute(f"CREATE VIEW decided AS SELECT * FROM {parquet([Workspace(source).decisions])}")
            types = column_types(recipe.signals.scores)
            best_first = ordered(
                connection, target, selection.strategy, types, selection.seed, selection.columns, selection.per
            )
            wanted = rows_wanted(selection.budget, len(best_first))
            batches = _decisions(connection, Workspace(source), best_first[:wanted], selection)
            write_parquet(target.decisions, batches, DECISIONS)
        curation = Curation(recipe, str(source), rules, manifest["inputs"], target, Stages(target.work))
        counts = curation.publish(decode_examples=False, selection=described)
    return out, counts, False


def _decisions(connection: Any, source: Workspace, chosen: Indices, selection: Selection) -> Iterator[pa.RecordBatch]:
    """The set's decisions; rows that it keeps and the selection does not are dropped."""
    connection.register("chosen", pa.table({"position": np.sort(chosen)}))
    query = _DECIDED.format(rule=NOT_SELECTED, decisions=parquet([source.decisions]))
    expression = f"selected are {selection.budget} by {selection.label}"
    query = query.replace("$expression", "'" + expression.replace("'", "''") + "'")
    yield from query_batches(connection, query)
