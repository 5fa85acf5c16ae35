"""One row of text signals per sample, with the alignment of each assistant turn when CLIP is on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.engines import batched
from curate.measure.embeddings import ImageEmbeddings, TextEmbeddings
from curate.measure.models import clip_model, clip_name
from curate.recipe import MeasureSettings
from curate.signals import SIGNALS
from curate.signals import text as text_signals
from curate.signals.language import language
from curate.signals.pii import personal_data
from curate.signals.profanity import first_profanity
from winnow.carried import objects_of
from winnow.progress import Bar
from winnow.records import Sample, without_markers
from winnow.tables import write_parquet

TEXT = "text.parquet"
_BLOCK = 4096
_FIELDS = SIGNALS["text"].fields()
_VOTES = [field for field in _FIELDS if field[0] in ("agreement", "vote_entropy")]
_CONVERSATION = [field for field in _FIELDS if field not in _VOTES]
TEXT_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        *_CONVERSATION,
        ("clip_alignment", pa.float64()),
        ("clip_alignments", pa.list_(pa.float64())),
        *_VOTES,
        *(field for name in ("pii", "profanity", "language") for field in SIGNALS[name].fields()),
    ]
)
# Raise the version of a signal, and its texts are measured again.
TEXT_VERSIONS = [SIGNALS[name].version for name in ("text", "pii", "profanity", "language")]


def measure_text(samples: Iterable[Sample], out: Path, settings: MeasureSettings) -> Path:
    """Write ``out/text.parquet``, one row per sample in input order; call it after ``measure_images``.

    Each distinct text is embedded once, in this run or an earlier one. The file appears whole.

    Args:
        samples: their image paths are those given to ``measure_images``.
        out: the ``signals`` folder.

    Raises:
        UserError: the CLIP model cannot be loaded, or ``out`` cannot be written.
    """
    path = out / TEXT
    total = len(samples) if isinstance(samples, Sized) else None
    with Bar("measure texts", total) as bar, contextlib.ExitStack() as stack:
        aligner = stack.enter_context(Aligner(out, settings)) if settings.clip else None

        def tables() -> Iterator[pa.Table]:
            for block in batched(samples, _BLOCK):
                rows = [_facts(sample, settings.language) for sample in block]
                if aligner is not None:
                    for row, cosines in zip(rows, aligner.alignments(block), strict=True):
                        row["clip_alignments"] = cosines
                        row["clip_alignment"] = min(cosines) if cosines else None
                yield pa.Table.from_pylist(rows, TEXT_SCHEMA)
                bar.advance(len(block))

        write_parquet(path, tables(), TEXT_SCHEMA)
    return path


def _facts(sample: Sample, with_language: bool) -> dict[str, Any]:
    texts = [*dict.fromkeys([*(turn.value for turn in sample.conversations), *sample.answers])]
    facts = {
        "sample_id": sample.id,
        **conversation_facts(sample),
        **text_signals.votes(sample.answers),
        "pii": personal_data(texts),
        "profanity": first_profanity(texts),
    }
    for role, name in (("user", "question"), ("assistant", "answer")) if with_language else ():
        first = next((turn.value for turn in sample.conversations if turn.role == role and not turn.name), "")
        facts[f"{name}_language"], facts[f"{name}_language_confidence"] = language(without_markers(first, " "))
    return facts


def conversation_facts(sample: Sample) -> dict[str, Any]:
    """The columns of ``curate.signals.text.conversation``."""
    return text_signals.conversation(
        [(turn.name or turn.role, turn.value) for turn in sample.conversations],
        len(sample.image),
        videos=_number(sample.meta.get("videos")),
        audios=_number(sample.meta.get("audios")),
        objects={marker: len(found) for marker, found in objects_of(sample.meta).items()},
    )


def _number(files: Any) -> int:
    return len(files) if isinstance(files, list) else 0


def turn_texts(sample: Sample) -> list[str]:
    """For each assistant turn that is no call of a tool, the user turn before it and itself as one text."""
    found, question = [], ""
    for turn in sample.conversations:
        if turn.role == "user" and not turn.name:
            question = " ".join(without_markers(turn.value, " ").split())
        elif turn.role == "assistant" and not turn.name:
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
        pairs = [(image, row) for row, rows in enumerate(images) for image in rows]
        new = self._texts.missing(text for row, turns in enumerate(texts) if images[row] for text in turns)
        for start in range(0, len(new), self._settings.batch_size):
            self._embed(new[start : start + self._settings.batch_size])
        wanted = [(image, self._texts.row(text), row) for image, row in pairs for text in texts[row]]
        cosines = iter(self._cosines([image for image, _, _ in wanted], [text for _, text, _ in wanted]))
        for rows, turns in zip(images, texts, strict=True):
            by_image = [[next(cosines) for _ in turns] for _ in rows]
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

    def __enter__(self) -> Aligner:
        return self

    def __exit__(self, *_: object) -> None:
        self._images.close()
