"""A few rows for each rule, with small pictures that go along with the card."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

from curate.card.text import cell, table
from curate.preflight import locate
from curate.recipe import CurateRecipe
from curate.report.results import SAMPLES_TABLE
from curate.rules.columns import literal, parquet
from curate.rules.fates import CheckedRule
from curate.workspace import Workspace
from winnow.files import atomic_path
from winnow.tables import database

FOLDER = "examples"
_EACH = 4
_SIDE, _SHOWN = 160, 80  # pixels of a thumbnail, and as shown
_PICTURE = """
    CASE WHEN coalesce(p.error, '') IN ('', 'wrong_extension', 'animated') THEN s.images[1] END AS image,
    s.image_keys[1] AS image_key
"""


@dataclass(frozen=True)
class Examples:
    """Attributes:
    text: the card's section.
    files: thumbnails that it shows.
    complete: no thumbnail is missing.
    """

    text: str
    files: list[Path]
    complete: bool


def examples(
    space: Workspace, recipe: CurateRecipe, rules: list[CheckedRule], root: Path, *, decode_pictures: bool
) -> Examples:
    """Rows of each rule that fired and some that are kept, the same ones for the same seed.

    Args:
        root: folder below which the images lie.
        decode_pictures: make thumbnails; else those that are not there yet link to the picture itself.
    """
    chosen = _chosen(space, recipe.seed, rules)
    shown: dict[str, str] = {}
    files: list[Path] = []
    complete = True
    for row in (row for rows in chosen.values() for row in rows):
        if row["image"] is None or row["image_key"] is None or row["image_key"] in shown:
            continue
        thumbnail = space.folder / FOLDER / f"{row['image_key'][:24]}.jpg"
        if thumbnail.is_file() or (decode_pictures and _made(thumbnail, row["image"], root, recipe)):
            files.append(thumbnail)
            shown[row["image_key"]] = f"{FOLDER}/{thumbnail.name}"
        else:
            complete = complete and decode_pictures
            shown[row["image_key"]] = _beside(space, row["image"], root)
    for stale in set((space.folder / FOLDER).glob("*.jpg")) - set(files):
        stale.unlink()
    parts = [_section(name, rows, shown) for name, rows in chosen.items() if rows]
    return Examples("\n\n".join(["## Examples", *parts]) if parts else "", files, complete)


def _chosen(space: Workspace, seed: int, rules: list[CheckedRule]) -> dict[str, list[dict[str, Any]]]:
    source = f"{parquet([space.folder / SAMPLES_TABLE])} s LEFT JOIN {parquet([space.paths])} p ON p.path = s.images[1]"
    order = f"ORDER BY md5({literal(str(seed))} || s.sample_id), s.sample_id LIMIT {_EACH}"
    columns = f"s.sample_id, s.question, s.answer, {_PICTURE}"
    found = {}
    with database(space.work) as connection:
        for rule in rules:
            found[rule.name] = _rows(
                connection,
                f"""
                SELECT {columns}, d.fired.values AS because, d.fired.kept_twin AS instead
                FROM (SELECT position, unnest(rules) AS fired FROM {parquet([space.decisions])}) d
                JOIN {source.replace(" s LEFT", " s USING (position) LEFT", 1)}
                WHERE d.fired.rule = {literal(rule.name)} {order}
                """,
            )
        kept = f"SELECT {columns}, NULL AS because, NULL AS instead FROM {source} WHERE s.decision = 'keep' {order}"
        found["kept"] = _rows(connection, kept)
    return found


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    done = connection.execute(query)
    names = [column[0] for column in done.description or []]
    return [dict(zip(names, row, strict=True)) for row in done.fetchall()]


def _made(thumbnail: Path, image: str, root: Path, recipe: CurateRecipe) -> bool:
    """Whether a small JPEG of the picture could be made."""
    from winnow import images

    found = locate(image, str(root.resolve()), max_bytes=recipe.signals.max_bytes)
    if found.file is None:
        return False
    caps = {"max_bytes": recipe.signals.max_bytes, "max_pixels": recipe.signals.max_pixels}
    picture, _ = images.decode(Path(found.file).read_bytes(), **caps)
    if picture is None:
        return False
    picture.thumbnail((_SIDE, _SIDE))
    with atomic_path(thumbnail) as temporary:
        picture.save(temporary, "JPEG", quality=80)
    return True


def _beside(space: Workspace, image: str, root: Path) -> str:
    """A link to the picture where it lies, '' where there is none."""
    if locate(image, str(root.resolve()), max_bytes=1 << 62).file is None:
        return ""
    return quote(f"{os.path.relpath(root.absolute(), space.folder.absolute())}/{image}")


def _section(name: str, rows: list[dict[str, Any]], shown: dict[str, str]) -> str:
    because = name != "kept"
    lines = []
    for row in rows:
        link = shown.get(row["image_key"] or "", "")
        values = json.loads(row["because"] or "{}").items()
        texts = [row["sample_id"], row["question"], row["answer"]]
        if because:
            texts += [", ".join(f"{key} {_number(value)}" for key, value in values), row["instead"]]
        lines.append([f'<img src="{link}" width="{_SHOWN}">' if link else "–", *(cell(text or "") for text in texts)])
    headings = ["image", "row", "question", "answer", *(["because", "instead"] if because else [])]
    return f"### {name}\n\n{table(headings, lines)}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
