"""``curate leaks``: which images of evaluation sets are in a data set too, and as which kind of copy.

What is read and measured stays in a folder of its own, so that another call measures only what is new; nothing is
written into the data set or a curated folder.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from curate.duplicates.contamination import CONTAMINATION
from curate.init import name_of
from curate.inputs import check_inputs
from curate.kinds import KINDS, Kind
from curate.pipeline import compare_sets
from curate.recipe import CurateRecipe, read_finished, read_recipe
from curate.report.contaminated import Leaks
from curate.settings.copies import CONTAMINATION_ACTIONS
from curate.settings.signals import MeasureSettings
from curate.settings.sources import SourceSettings
from curate.workspace import Workspace
from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path, digest_of, read_json, strict_json
from winnow.parquet.tables import database, parquet, read_batches, write_parquet
from winnow.recipe import parse_recipe
from winnow.remote.addresses import is_remote, mirror, url_of
from winnow.remote.published import bring
from winnow.remote.storage import find
from winnow.run import MANIFEST

_EXAMPLES = 3  # of each evaluation set and kind
_KEPT = Path("data/leaks")
_SEPARATOR = ","
PAIRS = [field.name for field in CONTAMINATION if field.name != "action"]


def find_leaks(
    target: str, against: Sequence[str], kinds: Sequence[Kind] = (), out: Path | None = None, workers: int | None = None
) -> Leaks:
    """Look for the images of evaluation sets, and the questions of rows without images, in a set.

    Args:
        target: a finished curated folder, whose kept rows are looked at, a recipe, or a location.
        against: locations of evaluation sets, or curated folders.
        kinds: of copies to look for; none looks for all that pixels tell.
        out: file for the pairs: .parquet, .csv or .jsonl.
        workers: processes that decode; changes no result.

    Raises:
        UserError: bad input, or a file cannot be written.
    """
    if out is not None and out.suffix not in _WRITERS:
        raise UserError(f"{out}: ends in none of {', '.join(_WRITERS)}")
    if against == [] or any(not each.strip() for each in against):
        raise UserError("--against: name at least one evaluation set")
    recipe, measured = _recipe(target, against, kinds)
    check_inputs(recipe)
    workspace = Workspace(recipe.folder)
    if measured is not None and not workspace.paths.is_file():
        _link_measurements(measured, workspace)
    not_measured = compare_sets(recipe, workers)
    found = replace(_read(workspace), not_measured=not_measured)
    if out is not None:
        try:
            _WRITERS[out.suffix](workspace.contamination_rows, out)
        except OSError as error:
            raise UserError(disk_problem(error, out) or f"{out}: cannot be written ({error})") from error
    return found


def kinds_of(text: str | None) -> list[Kind]:
    """The kinds that ``exact,cropped`` names.

    Raises:
        UserError: one is unknown, or cannot be told from pixels.
    """
    names = [name.strip() for name in (text or "").split(_SEPARATOR) if name.strip()]
    for name in names:
        if name not in CONTAMINATION_ACTIONS:
            raise UserError(f"--kinds {name}: is none of {', '.join(CONTAMINATION_ACTIONS)}")
    return [kind for kind in KINDS if kind in names]


def _recipe(target: str, against: Sequence[str], kinds: Sequence[Kind]) -> tuple[CurateRecipe, Workspace | None]:
    """A recipe that only compares, and the curated folder in which the set is measured already."""
    sources, signals, remote, measured = _set(target)
    evaluations = [_evaluation(each) for each in against]
    actions = dict.fromkeys(CONTAMINATION_ACTIONS, "ignore") | dict.fromkeys(kinds or CONTAMINATION_ACTIONS, "drop")
    values = {
        "name": "leaks",
        "sources": [source.model_dump() for source in sources],
        "signals": {name: getattr(signals, name) for name in ("max_bytes", "max_pixels")},
        "remote": remote,
        "contamination": {"against": [source.model_dump() for source in evaluations], "kinds": actions},
    }
    recipe = parse_recipe(values, CurateRecipe, where="curate leaks")
    read = recipe.model_dump(mode="json", exclude={"contamination": {"kinds"}})
    name = name_of(str(measured.folder) if measured else sources[0].location)
    return recipe.model_copy(update={"out": _KEPT / f"{name}-{digest_of(read)[:8]}"}), measured


def _set(
    target: str,
) -> tuple[list[SourceSettings], MeasureSettings, dict[str, Any] | None, Workspace | None]:
    """Sources, caps of decoding, how images behind addresses are fetched, and the curated folder if it is one."""
    folder: Path | None = None
    if target.endswith((".yaml", ".yml")):
        recipe = read_recipe(Path(target))
        folder = _curated(recipe.folder)
        if folder is None:
            remote = recipe.remote.model_dump() if recipe.remote else None
            return list(recipe.sources), recipe.signals, remote, None
    if folder := folder or _curated(target):
        recipe, _ = read_finished(folder)
        return [_kept_rows(folder)], recipe.signals, None, Workspace(folder)
    return [source_of(target)], MeasureSettings(), None, None


def _evaluation(text: str) -> SourceSettings:
    folder = _curated(text)
    return _kept_rows(folder) if folder else source_of(text)


def _curated(place: str | Path) -> Path | None:
    """The folder of a place that holds a curated set; one on object storage is brought here."""
    folder = mirror(place) if is_remote(place) else Path(place)
    url = url_of(folder)
    if url is not None and find(f"{url}/{MANIFEST}") is not None:
        bring(folder)
    return folder if (folder / MANIFEST).is_file() and (folder / "samples.jsonl").is_file() else None


def _kept_rows(folder: Path) -> SourceSettings:
    _, manifest = read_finished(folder)
    location = str(Workspace(folder).samples)
    return SourceSettings(
        location=location, layout="conversations", image_root=manifest["image_root"], source=folder.resolve().name
    )


def source_of(text: str) -> SourceSettings:
    """A location, and behind it keys of an entry of ``sources:``: ``test.jsonl,image_root=images,split=test``.

    Raises:
        UserError: a value does not fit.
    """
    parts = text.split(_SEPARATOR)
    values: dict[str, Any] = {}
    while len(parts) > 1 and parts[-1].partition("=")[0] in SourceSettings.model_fields:
        key, _, value = parts.pop().partition("=")
        values[key] = value
    return parse_recipe({"location": _SEPARATOR.join(parts), **values}, SourceSettings, where=text)


def _link_measurements(measured: Workspace, workspace: Workspace) -> None:
    """Give the folder what was measured already; files are only ever replaced whole."""
    workspace.signals.mkdir(parents=True, exist_ok=True)
    for path in [*measured.image_parts(), measured.paths]:
        target = workspace.signals / path.name
        target.unlink(missing_ok=True)
        try:
            os.link(path, target)
        except OSError:  # another disk, or one without links
            target.write_bytes(path.read_bytes())


_BY_KIND = """
    SELECT kind, count(DISTINCT sample_id) AS rows, count(DISTINCT path) AS images
    FROM {table} WHERE benchmark = ? GROUP BY kind
"""
_SHOWN = """
    SELECT kind, sample_id, path, evaluation_path, evaluation, strength FROM {table} WHERE benchmark = ?
    QUALIFY row_number() OVER (PARTITION BY kind ORDER BY strength DESC, sample_id, path) <= {count}
    ORDER BY strength DESC, sample_id, path
"""


def _read(workspace: Workspace) -> Leaks:
    table = parquet([workspace.contamination_rows])
    order = (*KINDS, "question")
    sets = []
    with database(workspace.work) as connection:
        for counts in read_json(workspace.contamination_counts):
            name = [counts["benchmark"]]
            rows = connection.execute(
                f"SELECT count(DISTINCT sample_id) FROM {table} WHERE benchmark = ?", name
            ).fetchall()
            kinds = connection.sql(_BY_KIND.format(table=table), params=name).to_arrow_table().to_pylist()
            shown = connection.sql(_SHOWN.format(table=table, count=_EXAMPLES), params=name).to_arrow_table()
            examples = sorted(shown.to_pylist(), key=lambda one: order.index(one["kind"]))
            kinds.sort(key=lambda one: order.index(one["kind"]))
            sets.append({**counts, "rows": rows[0][0], "kinds": kinds, "examples": examples})
        images = connection.execute(
            f"SELECT count(DISTINCT image_key) FROM {parquet([workspace.paths])} WHERE image_key IS NOT NULL"
        ).fetchall()
    return Leaks(workspace.folder, workspace.rows.row_count(), images[0][0], sets)


def _write_parquet(rows: Path, out: Path) -> None:
    schema = CONTAMINATION.remove(CONTAMINATION.get_field_index("action"))
    write_parquet(out, read_batches(rows, PAIRS), schema)


def _write_csv(rows: Path, out: Path) -> None:
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, PAIRS)
        writer.writeheader()
        for batch in read_batches(rows, PAIRS):
            writer.writerows(batch.to_pylist())


def _write_lines(rows: Path, out: Path) -> None:
    with atomic_path(out) as temporary, temporary.open("w", encoding="utf-8") as handle:
        for batch in read_batches(rows, PAIRS):
            handle.writelines(f"{strict_json(row)}\n" for row in batch.to_pylist())


_WRITERS = {".parquet": _write_parquet, ".csv": _write_csv, ".jsonl": _write_lines}
