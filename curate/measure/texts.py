"""One row of text signals per sample, with the alignment of each assistant turn when CLIP is on.

Scores of prompt sets and linear heads for every image, from the embeddings in the ``signals`` folder.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.measure.embeddings import ImageEmbeddings, TextEmbeddings
from curate.measure.models import clip_model, clip_name
from curate.measure.store import Store
from curate.recipe import MeasureSettings, PromptSet
from curate.signals import text as text_signals
from curate.signals.zero_shot import HeadUnusable, head_scores, prompt_scores, read_head
from winnow.conversations import IMAGE_MARKER
from winnow.errors import UserError
from winnow.files import atomic_path
from winnow.progress import Bar, track
from winnow.records import Sample

TEXT = "text.parquet"
_BLOCK = 4096
_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("turns", pa.int32()),
        ("question_words", pa.int32()),
        ("answer_words", pa.int32()),
        ("empty_answer", pa.bool_()),
        ("echoed_answer", pa.bool_()),
        ("refusal", pa.bool_()),
        ("markers_match", pa.bool_()),
        ("alternates", pa.bool_()),
        ("control_token", pa.string()),
        ("longest_turn_words", pa.int32()),
        ("longest_turn_chars", pa.int32()),
        ("answer_type_mismatch", pa.bool_()),
        ("clip_alignment", pa.float64()),
        ("clip_alignments", pa.list_(pa.float64())),
        ("agreement", pa.float64()),
        ("vote_entropy", pa.float64()),
    ]
)


def measure_text(samples: Iterable[Sample], out: Path, settings: MeasureSettings) -> Path:
    """Write ``out/text.parquet``, one row per sample in input order; call it after ``measure_images``.

    Each distinct text is embedded once, in this run or an earlier one. The file appears whole.

    Args:
        samples: their image paths are those given to ``measure_images``.
        out: the ``signals`` folder.

    Raises:
        UserError: the CLIP model cannot be loaded, or ``out`` cannot be written.
    """
    total = len(samples) if isinstance(samples, Sized) else None
    path = out / TEXT
    aligner = None
    try:
        aligner = Aligner(out, settings) if settings.clip else None
        with (
            Bar("measure texts", total) as bar,
            atomic_path(path) as temporary,
            pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer,
        ):
            iterator = iter(samples)
            while block := list(itertools.islice(iterator, _BLOCK)):
                rows = [_facts(sample) for sample in block]
                if aligner is not None:
                    for row, aligned in zip(rows, aligner.alignments(block), strict=True):
                        row["clip_alignments"] = aligned
                        row["clip_alignment"] = min(aligned) if aligned else None
                writer.write_table(pa.Table.from_pylist(rows, _SCHEMA))
                bar.advance(len(block))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        if aligner is not None:
            aligner.close()
    return path


def _facts(sample: Sample) -> dict[str, Any]:
    turns = [(turn.role, turn.value) for turn in sample.conversations]
    return {
        "sample_id": sample.id,
        **text_signals.conversation(turns, len(sample.image)),
        **text_signals.votes(sample.answers),
    }


def turn_texts(sample: Sample) -> list[str]:
    """For each assistant turn, the user turn before it and the answer as one text, without markers."""
    found, question = [], ""
    for turn in sample.conversations:
        if turn.role == "user":
            question = " ".join(turn.value.replace(IMAGE_MARKER, " ").split())
        elif turn.role == "assistant":
            found.append(f"{question} {' '.join(turn.value.split())}".strip())
    return found


class Aligner:
    """Cosines of turns with images, from stored embeddings; loads CLIP only for texts not embedded before."""

    def __init__(self, out: Path, settings: MeasureSettings) -> None:
        self._settings = settings
        self._model: Any = None
        self._images = ImageEmbeddings(out)
        self._texts = TextEmbeddings(out, clip_name(settings) or "", self._images.width)

    def alignments(self, samples: list[Sample]) -> Iterator[list[float] | None]:
        """Per sample, the cosine of each assistant turn with its worst image; None without a measured image."""
        texts = [turn_texts(sample) for sample in samples]
        images = [self._images.rows(sample.image) for sample in samples]
        pairs = [(image, row) for row, found in enumerate(images) for image in found]
        new = self._texts.missing(text for row, texts_ in enumerate(texts) if images[row] for text in texts_)
        for start in range(0, len(new), self._settings.batch_size):
            self._embed(new[start : start + self._settings.batch_size])
        wanted = [(image, self._texts.row(text), row) for image, row in pairs for text in texts[row]]
        cosines = iter(self._cosines([image for image, _, _ in wanted], [text for _, text, _ in wanted]))
        for found, texts_ in zip(images, texts, strict=True):
            by_image = [[next(cosines) for _ in texts_] for _ in found]
            yield [min(turn) for turn in zip(*by_image, strict=True)] if by_image else None

    def _cosines(self, images: list[int], texts: list[int]) -> list[float]:
        if not images:
            return []
        left = self._images.values[images].astype(np.float32)
        right = self._texts.values()[texts].astype(np.float32)
        return [float(cosine) for cosine in (left * right).sum(axis=1)]

    def _embed(self, batch: list[str]) -> None:
        if self._model is None:
            self._model = clip_model(self._settings)
        self._texts.append(batch, self._model.embed_texts(batch))

    def close(self) -> None:
        """Free the files that are held open."""
        self._images.close()


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
    try:
        with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
            for part in track(parts, "score embeddings", len(parts)):
                writer.write_table(_scored(part, scorers, schema))
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from error


def _scorers(out: Path, settings: MeasureSettings, width: int) -> dict[str, Scorer]:
    prompts = settings.prompt_sets
    texts = TextEmbeddings(out, f"{clip_name(settings)} prompts", width)
    wanted = texts.missing(text for one in prompts.values() for text in (*one.positive, *one.negative))
    model = clip_model(settings) if wanted else None
    for text in wanted:
        # One at a time: what else is in a batch changes the last bits of an embedding.
        texts.append([text], model.embed_texts([text]))  # type: ignore[union-attr]
    found = {name: _prompt_scorer(one, texts) for name, one in prompts.items()}
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
