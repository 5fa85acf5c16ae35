"""A few rows for each rule with small images, for the dataset card; the same rows for the same seed."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

from curate.recipe import CurateRecipe
from curate.rules.decide import CheckedRule
from curate.workspace import Workspace
from winnow.files import atomic_path
from winnow.images import locate
from winnow.tables import database, literal, parquet
from winnow.text import cell, table

FOLDER = "examples"
_EACH = 4  # rows of a rule
_SIDE, _SHOWN = 160, 80  # pixels of a thumbnail, and as shown
_IMAGE = """
    CASE WHEN coalesce(p.error, '') IN ('', 'wrong_extension', 'animated') THEN s.images[1] END AS image,
    s.image_keys[1] AS image_key
"""


@dataclass(frozen=True)
class Examples:
    """The section of the card.

    Attributes:
        text: Markdown.
        files: thumbnails that it shows.
        complete: whether no thumbnail is missing.
    """

    text: str
    files: list[Path]
    complete: bool


def examples(
    workspace: Workspace, recipe: CurateRecipe, rules: list[CheckedRule], root: Path, *, decode_images: bool
) -> Examples:
    """Rows of each rule that fired and some that are kept, the same ones for the same seed.

    Args:
        root: folder below which the images lie.
        decode_images: make thumbnails; else those that are not there yet link to the image itself.
    """
    chosen = _chosen(workspace, recipe.seed, rules)
    shown: dict[str, str] = {}
    files: list[Path] = []
    complete = True
    for row in (row for rows in chosen.values() for row in rows):
        if row["image"] is None or row["image_key"] is None or row["image_key"] in shown:
            continue
        thumbnail = workspace.folder / FOLDER / f"{row['image_key'][:24]}.jpg"
        if thumbnail.is_file() or (decode_images and _make_thumbnail(thumbnail, row["image"], root, recipe)):
            files.append(thumbnail)
            shown[row["image_key"]] = f"{FOLDER}/{thumbnail.name}"
        else:
            complete = complete and decode_images
            shown[row["image_key"]] = _link_to(workspace, row["image"], root)
    for stale in set((workspace.folder / FOLDER).glob("*.jpg")) - set(files):
        stale.unlink()
    parts = [_section(name, rows, shown) for name, rows in chosen.items() if rows]
    return Examples("\n\n".join(["## Examples", *parts]) if parts else "", files, complete)


def _chosen(workspace: Workspace, seed: int, rules: list[CheckedRule]) -> dict[str, list[dict[str, Any]]]:
    source = f"{parquet([workspace.samples_table])} s LEFT JOIN {parquet([workspace.paths])} p ON p.path = s.images[1]"
    order = f"ORDER BY md5({literal(str(seed))} || s.sample_id), s.sample_id LIMIT {_EACH}"
    columns = f"s.sample_id, s.question, s.answer, {_IMAGE}"
    found = {}
    with database(workspace.work) as connection:
        for rule in rules:
            found[rule.name] = _rows(
                connection,
                f"""
                SELECT {columns}, d.fired.values AS because, d.fired.related_row AS instead
                FROM (SELECT position, unnest(rules) AS fired FROM {parquet([workspace.decisions])}) d
                JOIN {source.replace(" s LEFT", " s USING (position) LEFT", 1)}
                WHERE d.fired.rule = {literal(rule.name)} {order}
                """,
            )
        kept = f"SELECT {columns}, NULL AS because, NULL AS instead FROM {source} WHERE s.decision = 'keep' {order}"
        found["kept"] = _rows(connection, kept)
    return found


def _rows(connection: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return rows


def _make_thumbnail(thumbnail: Path, image: str, root: Path, recipe: CurateRecipe) -> bool:
    """Whether a small JPEG of the image could be made."""
    from winnow import images

    found = locate(image, str(root.resolve()), max_bytes=recipe.signals.max_bytes)
    if found.file is None:
        return False
    caps = {"max_bytes": recipe.signals.max_bytes, "max_pixels": recipe.signals.max_pixels}
    opened, _ = images.decode(Path(found.file).read_bytes(), **caps)
    if opened is None:
        return False
    opened.thumbnail((_SIDE, _SIDE))
    with atomic_path(thumbnail) as temporary:
        opened.save(temporary, "JPEG", quality=80)
    return True


def _link_to(workspace: Workspace, image: str, root: Path) -> str:
    """A link to the image where it lies, '' where there is none."""
    if locate(image, str(root.resolve()), max_bytes=1 << 62).file is None:
        return ""
    return quote(f"{os.path.relpath(root.absolute(), workspace.folder.absolute())}/{image}")


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
