"""Scores of prompt sets and linear heads for every image, from the embeddings in the ``signals`` folder."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.measure.embeddings import TextEmbeddings
from curate.measure.models import clip_model, clip_name
from curate.measure.store import Store
from curate.recipe import MeasureSettings, PromptSet
from curate.signals.clip import HeadUnusable, head_scores, prompt_scores, read_head
from winnow.errors import UserError
from winnow.progress import track
from winnow.tables import write_parquet

SCORES = "scores.parquet"
Scorer = Callable[[NDArray[np.float16]], NDArray[np.float64]]


def write_scores(out: Path, settings: MeasureSettings) -> None:
    """Write ``out/scores.parquet``: image_key and a column for each prompt set and head; null without an embedding.

    Without prompts and heads the file is removed. Prompts that were embedded before need no model.

    Raises:
        UserError: CLIP cannot be loaded, a head does not fit it, or the file cannot be written.
    """
    path = out / SCORES
    names = settings.scores
    if not names:
        path.unlink(missing_ok=True)
        return
    parts = Store(out).parts()
    width = next((width for part in parts if (width := _width(part))), 0)
    scorers = _scorers(out, settings, width) if width else {}
    schema = pa.schema([("image_key", pa.string()), *((name, pa.float64()) for name in names)])
    tables = (_scored(part, scorers, schema) for part in track(parts, "score embeddings", len(parts)))
    write_parquet(path, tables, schema)


def _scorers(out: Path, settings: MeasureSettings, width: int) -> dict[str, Scorer]:
    prompts = settings.prompt_sets
    texts = TextEmbeddings(out, f"{clip_name(settings)} prompts", width)
    wanted = texts.missing(
        text for prompt_set in prompts.values() for text in (*prompt_set.positive, *prompt_set.negative)
    )
    model = clip_model(settings) if wanted else None
    for text in wanted:
        # One at a time: what else is in a batch changes the last bits of an embedding.
        texts.append([text], model.embed_texts([text]))  # type: ignore[union-attr]
    found = {name: _prompt_scorer(prompt_set, texts) for name, prompt_set in prompts.items()}
    for name, file in settings.heads.items():
        try:
            weight, bias = read_head(file, width)
        except HeadUnusable as error:
            raise UserError(str(error)) from error
        found[name] = functools.partial(head_scores, weight=weight, bias=bias)
    return found


def _prompt_scorer(prompts: PromptSet, texts: TextEmbeddings) -> Scorer:
    values = texts.values()
    positive = np.array(values[[texts.row(text) for text in prompts.positive]])
    negative = np.array(values[[texts.row(text) for text in prompts.negative]])
    return lambda images: prompt_scores(images, positive, negative, prompts.scale)


def _width(part: Path) -> int:
    kind = pq.read_schema(part).field("clip_embedding").type
    return int(kind.list_size) if pa.types.is_fixed_size_list(kind) else 0


def _scored(part: Path, scorers: dict[str, Scorer], schema: pa.Schema) -> pa.Table:
    table = pq.read_table(part, columns=["image_key", "clip_embedding"])
    column = table["clip_embedding"].combine_chunks()
    there = column.is_valid().to_numpy(zero_copy_only=False)
    rows: dict[str, pa.Array] = {"image_key": table["image_key"]}
    embedded = column.drop_null().flatten().to_numpy(zero_copy_only=False).astype(np.float16).reshape(there.sum(), -1)
    for name in schema.names[1:]:
        scores = np.zeros(len(table))
        if len(embedded):
            scores[there] = scorers[name](embedded)
        rows[name] = pa.array(scores, mask=~there)
    return pa.table(rows, schema)
