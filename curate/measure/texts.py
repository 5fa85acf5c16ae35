"""One row of text signals per row, with the alignment of each assistant turn when CLIP is on."""

from __future__ import annotations

import contextlib
import functools
import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from curate.engines import batched, open_pool
from curate.engines.pool import Pool
from curate.engines.worker import Unreachable
from curate.measure.embeddings import ImageEmbeddings, TextEmbeddings
from curate.measure.models import clip_model, clip_name, is_out_of_memory
from curate.measure.store import Store
from curate.settings.signals import MeasureSettings
from curate.signals import SIGNALS
from curate.signals import text as text_signals
from curate.signals.language import language
from curate.signals.memo import Remembered
from curate.signals.pii import kinds_of, personal_data
from curate.signals.profanity import first_profanity
from winnow.errors import UserError
from winnow.parquet.table_parts import Item, Parts, PartTask, Runner, run_here
from winnow.parquet.tables import parquet, read_batches, sql_files, write_parquet
from winnow.progress import Bar
from winnow.rows.carried import objects_of
from winnow.rows.records import Sample, from_record, without_markers

TEXT = "text"  # the folder of the table below `signals`
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
_UNREAD = dict.fromkeys(TEXT_SCHEMA.names)
_VALUES = operator.itemgetter(*TEXT_SCHEMA.names)
# Raise the version of a signal, and its texts are measured again.
TEXT_VERSIONS = [SIGNALS[name].version for name in ("text", "pii", "profanity", "language")]


def measure_text(corrected: Parts, signals: Path, settings: MeasureSettings, runner: Runner = run_here) -> Parts:
    """Bring ``signals/text`` up to date: one row for each corrected row, of nulls for one that could not be read.

    With CLIP, call it after ``measure_images``; each distinct text is embedded once, in this run or an earlier one.

    Args:
        runner: makes parts. With CLIP they are made in this process, and new texts embedded where models run.

    Raises:
        UserError: the CLIP model cannot be loaded, or ``signals`` cannot be written.
    """
    texts = Parts(signals / TEXT)
    embedded = _embedded(corrected, signals) if settings.clip else {}
    tasks = [
        PartTask(
            ["texts", TEXT_VERSIONS, settings.language, clip_name(settings), embedded.get(number), name],
            (corrected.folder / name, rows, settings.language),
        )
        for number, (name, rows) in enumerate(zip(corrected.names(), corrected.counts(), strict=True))
    ]
    by_name = {task.name: task for task in tasks}
    missing = [by_name[name] for name in texts.missing(by_name)]
    items = [(texts.folder / task.name, task.args) for task in missing]
    with Bar("measure texts", sum(task.args[1] for task in missing)) as bar, contextlib.ExitStack() as stack:
        if settings.clip and missing:
            pool = stack.enter_context(open_pool(settings.engine, settings.workers))
            stack.callback(_clip.cache_clear)
            aligner = stack.enter_context(Aligner(signals, settings, pool.models))
            run = run_here(functools.partial(make_text, aligner=aligner))
        else:
            run = runner(make_text)
        for task, _ in zip(missing, run(items), strict=True):
            bar.advance(task.args[1])
    texts.finish([task.name for task in tasks])
    return texts


def _embedded(corrected: Parts, signals: Path) -> dict[int, str]:
    """For each part with an embedded image, by its number: what changes when another one is embedded."""
    parts = Store(signals).parts()
    if not parts:
        return {}
    with duckdb.connect(":memory:") as connection:
        return dict(
            connection.execute(f"""
                SELECT part, bit_xor(md5_number(image_key))::VARCHAR FROM (
                    SELECT DISTINCT file_index AS part, unnest(image_keys) AS image_key
                    FROM read_parquet({sql_files(corrected.files())})
                ) SEMI JOIN (SELECT image_key FROM {parquet(parts)} WHERE clip_embedding IS NOT NULL) USING (image_key)
                GROUP BY part
            """).fetchall()
        )


def make_text(item: Item, aligner: Aligner | None = None) -> None:
    """Write a part: (corrected rows, their number, whether to tell the language)."""
    path, (rows, _, with_language) = item

    def batches() -> Iterator[pa.RecordBatch]:
        for batch in read_batches(rows, ["sample_id", "record", "bad_row"]):
            for start in range(0, batch.num_rows, _BLOCK):
                yield _measured(batch.slice(start, _BLOCK), with_language, aligner)

    write_parquet(path, batches(), TEXT_SCHEMA)


def _measured(rows: pa.RecordBatch, with_language: bool, aligner: Aligner | None) -> pa.RecordBatch:
    ids, records = rows.column("sample_id").to_pylist(), rows.column("record").to_pylist()
    read = rows.column("bad_row").is_null().to_pylist()
    facts = [
        {**_UNREAD, "sample_id": sample_id, **_facts(orjson.loads(record), with_language)}
        if is_read
        else {**_UNREAD, "sample_id": sample_id}
        for sample_id, record, is_read in zip(ids, records, read, strict=True)
    ]
    if aligner is not None:
        there = [number for number, is_read in enumerate(read) if is_read]
        samples = [from_record(json.loads(records[number])) for number in there]
        for number, cosines in zip(there, aligner.alignments(samples), strict=True):
            facts[number]["clip_alignments"] = cosines
            facts[number]["clip_alignment"] = min(cosines) if cosines else None
    columns = zip(*map(_VALUES, facts), strict=True)
    arrays = [pa.array(values, field.type) for values, field in zip(columns, TEXT_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=TEXT_SCHEMA)


_HARMLESS: Remembered[bool] = Remembered(lambda text: not kinds_of(text) and first_profanity([text]) is None)


def _facts(record: Mapping[str, Any], with_language: bool) -> dict[str, Any]:
    """The columns of a stored record."""
    turns = [(turn["from"], turn["value"]) for turn in record["conversations"]]
    answers = record.get("answers", [])
    texts = [*(value for _, value in turns), *answers]
    harmless = all(map(_HARMLESS.__getitem__, texts))
    image = record.get("image", [])
    facts = {
        **_conversation(turns, 1 if isinstance(image, str) else len(image), record["meta"]),
        **text_signals.votes(answers),
        "pii": None if harmless else personal_data(texts),
        "profanity": None if harmless else first_profanity(texts),
    }
    for role, name in (("user", "question"), ("assistant", "answer")) if with_language else ():
        first = next((value for speaker, value in turns if speaker == role), "")
        facts[f"{name}_language"], facts[f"{name}_language_confidence"] = language(without_markers(first, " "))
    return facts


def conversation_facts(sample: Sample) -> dict[str, Any]:
    """The columns of ``curate.signals.text.conversation``."""
    turns = [(turn.name or turn.role, turn.value) for turn in sample.conversations]
    return _conversation(turns, len(sample.image), sample.meta)


def _conversation(turns: Sequence[tuple[str, str]], images: int, meta: Mapping[str, Any]) -> dict[str, Any]:
    return text_signals.conversation(
        turns,
        images,
        videos=_number(meta.get("videos")),
        audios=_number(meta.get("audios")),
        objects={marker: len(found) for marker, found in objects_of(meta).items()} if "objects" in meta else None,
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
    """Cosines of turns with images, from stored embeddings; loads CLIP only for texts not embedded before.

    Args:
        models: where CLIP runs.
    """

    def __init__(self, out: Path, settings: MeasureSettings, models: Pool) -> None:
        self._settings, self._models = settings, models
        self._images = ImageEmbeddings(out)
        self._texts = TextEmbeddings(out, clip_name(settings) or "", self._images.width)

    def alignments(self, samples: list[Sample]) -> Iterator[list[float] | None]:
        """Per sample, the cosine of each assistant turn with its worst image; None without a measured image."""
        texts = [turn_texts(sample) for sample in samples]
        images = [self._images.rows(sample.image) for sample in samples]
        pairs = [(image, row) for row, rows in enumerate(images) for image in rows]
        new = self._texts.missing(text for row, turns in enumerate(texts) if images[row] for text in turns)
        batches = list(batched(new, self._settings.batch_size))
        embed = functools.partial(_embedded_texts, self._settings)
        for batch, (values,) in zip(
            batches, self._models.map(embed, ([one] for one in batches), _crashed), strict=True
        ):
            self._texts.append(batch, values)
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

    def __enter__(self) -> Aligner:
        return self

    def __exit__(self, *_: object) -> None:
        self._images.close()


def _embedded_texts(settings: MeasureSettings, batches: list[list[str]]) -> list[NDArray[np.float16]]:
    try:
        return [_clip(settings.model_dump_json()).embed_texts(batch) for batch in batches]
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise Unreachable("CLIP has not enough memory for texts") from error
        raise


@functools.lru_cache(maxsize=1)
def _clip(settings: str) -> Any:
    return clip_model(MeasureSettings.model_validate_json(settings))


def _crashed(batch: list[str]) -> NDArray[np.float16]:
    raise UserError(
        f"clip: the model crashes on the text {batch[0][:50]!r} or one after it; write `clip: null` to go on"
    )
