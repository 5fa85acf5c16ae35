"""Checks every row before a weight is loaded and counts its tokens: rows that cannot be trained get a reason."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from finetune.data.abilities import Abilities
from finetune.data.chat import (
    audios_of,
    can_join,
    can_sample_answer,
    control_tokens,
    join_rows,
    prompt_suffix_problem,
    uses_prompt_suffix,
    videos_of,
    with_answer,
)
from finetune.data.image_costs import image_token_counter
from finetune.data.media import (
    clip_form,
    clip_token_counter,
    longest_sound,
    needs_equal_clips,
    sampling_rate,
    sound_length,
    sound_token_counter,
)
from finetune.data.pairs import pair_of, pair_problem
from finetune.data.row_form import form_problem
from finetune.data.rows import Rows, open_image
from finetune.data.schedule import AcceptedRows
from finetune.data.spans import render_with_spans
from finetune.data.template import UntrainableRow, check_variables
from winnow.errors import UserError
from winnow.files import write_text
from winnow.progress import track
from winnow.rows.records import Sample, Turn
from winnow.vlm.inputs import InputSettings

_CHUNK = 512
Video = str | tuple[str, ...]  # a path, or the paths of its frames
Problem = tuple[str, str, str]  # sample_id, reason, detail
Variants = Callable[[Sample], Sequence[Sample]]


@dataclass(frozen=True)
class Preflight:
    """Result of the row check.

    Attributes:
        rejected: reason → number of rows, most frequent first.
        sizes: (width, height) → number of images; empty if read from an earlier check.
    """

    accepted: AcceptedRows
    rejected: dict[str, int]
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)


def check_rows(
    rows: Rows, processor: Any, *, settings: InputSettings, max_length: int, max_reject: float, sample_answers: bool,
    workers: int, rejects: Path, joined: bool = False, pairs: bool = False, chosen: Sequence[int] | None = None,
) -> Preflight:  # fmt: skip
    """Check the form, images, control tokens, trained characters and length of every row.

    Rejected rows go to ``rejects`` (JSONL).

    Args:
        settings: what is done to images and chats before and in the processor.
        sample_answers: training samples from ``answers``, so all of them are checked.
        joined: several questions may share a conversation, so rows are also checked before a later question.
        workers: processes that open images.
        chosen: the rows to check; None: all.
        pairs: rows are preference pairs, so their rejected answers are checked too.

    Raises:
        UserError: an id occurs twice, no row is left, the share of rejected rows is above ``max_reject``, or the
            chat template reads no variable of that name.
    """
    check_variables(processor, settings)
    variants = partial(_variants, sample_answers=sample_answers, pairs=pairs)
    problems: dict[int, Problem] = {}
    images: dict[int, tuple[str, ...]] = {}
    others: dict[int, tuple[tuple[Video, ...], tuple[str, ...]]] = {}  # videos and sounds
    seen: dict[str, int] = {}
    forbidden = control_tokens(processor)
    abilities = Abilities(processor, settings)
    wanted = range(len(rows)) if chosen is None else chosen
    for row in track(wanted, "reading rows", len(wanted)):
        try:
            sample = rows[row]
        except UserError as error:
            problems[row] = ("", "unreadable_row", str(error))
            continue
        if sample.id in seen:
            raise UserError(
                f"id {sample.id!r} occurs twice, in {rows.where(seen[sample.id])} and {rows.where(row)}; ids must be"
                " unique: `curate` numbers the rows (`ids: position`), and rows without any id are numbered here"
            )
        seen[sample.id] = row
        found = pair_problem(sample) if pairs else None
        if found := found or _own_problem(sample, variants(sample), processor, forbidden, abilities):
            problems[row] = (sample.id, *found)
            continue
        images[row] = sample.image
        if videos_of(sample) or audios_of(sample):
            others[row] = (videos_of(sample), audios_of(sample))
    if any(images.values()):
        for row in [row for row, (videos, _) in others.items() if videos and abilities.mixed_problem]:
            problems[row] = (rows[row].id, "not_only_images", str(abilities.mixed_problem))
            del images[row], others[row]
        for row in [row for row, names in images.items() if not names and row not in others]:
            if abilities.order_problem:
                problems[row] = (rows[row].id, "needs_image", abilities.order_problem)
                del images[row]
    tokens_of = _media_tokens(rows.image_root, others, processor, settings, workers)
    for row, files in others.items():
        named = [file for kind in files for file in kind]
        if broken := next(((file, tokens_of[file]) for file in named if isinstance(tokens_of[file], str)), None):
            problems[row] = (rows[row].id, "media", f"{broken[0]!s:.200}: {broken[1]}")
            del images[row]
    sizes = _image_sizes(rows.image_root, {name for names in images.values() for name in names}, workers)
    for row, names in list(images.items()):
        if broken := next(((name, sizes[name]) for name in names if isinstance(sizes[name], str)), None):
            problems[row] = (rows[row].id, "image", f"{broken[0]:.200}: {broken[1]}")
            del images[row]
    accepted, unfit = _measure(rows, list(images), sizes, tokens_of, processor, settings, max_length, variants, joined)
    problems.update(unfit)
    _write_rejects(problems, rejects)
    counts = dict(Counter(reason for _, reason, _ in problems.values()).most_common())
    _refuse_too_many(len(wanted), counts, problems, max_reject)
    used = {name for row in accepted.row.tolist() for name in images[row]}
    return Preflight(accepted, counts, dict(Counter(size for name in used if isinstance(size := sizes[name], tuple))))


def _own_problem(
    sample: Sample, variants: Sequence[Sample], processor: Any, forbidden: frozenset[str], abilities: Abilities
) -> tuple[str, str] | None:
    """Reason and detail if a sample cannot be trained whatever is in its files, else None."""
    if found := next(filter(None, (form_problem(one, forbidden) for one in variants)), None):
        return found
    if uses_prompt_suffix(processor) and (detail := prompt_suffix_problem(sample)):
        return "not_one_question_and_answer", detail
    return abilities.problem(sample)


def _write_rejects(problems: Mapping[int, Problem], target: Path) -> None:
    lines = (
        json.dumps({"sample_id": sample_id, "row": row, "reason": reason, "detail": detail}) + "\n"
        for row, (sample_id, reason, detail) in sorted(problems.items())
    )
    write_text(target, "".join(lines))


def _refuse_too_many(total: int, counts: dict[str, int], problems: dict[int, Problem], max_reject: float) -> None:
    rejected = len(problems)
    if rejected == total or rejected > max_reject * total:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.items())
        most_frequent = next(iter(counts), None)
        row = next((row for row, (_, reason, _) in problems.items() if reason == most_frequent), None)
        example = f" for example {problems[row][0] or f'row {row}'}: {problems[row][2]}." if row is not None else ""
        limit = "" if rejected == total else f", max_reject is {max_reject:.0%}"
        raise UserError(
            f"{rejected:,} of {total:,} rows cannot be trained ({reasons}){limit};{example}"
            " `finetune train` lists them in rejects.jsonl of its run folder"
        )


def _media_tokens(
    root: Path, files: Mapping[int, tuple[tuple[Video, ...], tuple[str, ...]]], processor: Any, settings: InputSettings,
    workers: int,
) -> dict[Video, Any]:  # fmt: skip
    """Decode every video and sound once: file → the tokens it adds, or what is wrong with it."""
    found: dict[Video, Any] = {}
    videos = {video for listed, _ in files.values() for video in listed}
    if videos:
        read = partial(clip_form, root, settings, needs_equal_clips(processor))
        found |= _counted(_each_file(read, videos, workers, "decoding videos"), clip_token_counter(processor, settings))
    sounds = {sound for _, listed in files.values() for sound in listed}
    if sounds:
        hear = partial(sound_length, root, sampling_rate(processor), longest_sound(processor))
        found |= _counted(_each_file(hear, sounds, workers, "decoding audio"), sound_token_counter(processor, settings))
    return found


def _counted(found: Mapping[Video, Any], count: Callable[[Any], int]) -> dict[Video, Any]:
    counted: dict[Video, Any] = {}
    for file, form in found.items():
        try:
            counted[file] = form if isinstance(form, str) else count(form)
        except ValueError as error:
            counted[file] = f"refused by the processor ({error})"
    return counted


def _image_sizes(root: Path, names: set[str], workers: int) -> dict[str, tuple[int, int] | str]:
    """Open every image once: name → (width, height), or what is wrong with it."""
    return _each_file(partial(_image_size, root), names, workers, "opening images")


def _each_file(read: Callable[[Any], Any], names: set[Any], workers: int, label: str) -> dict[Any, Any]:
    """File → what ``read`` gives for it, in several processes if there are many."""
    ordered = sorted(names, key=str)
    if workers < 2 or len(ordered) < _CHUNK:
        return dict(zip(ordered, track(map(read, ordered), label, len(ordered)), strict=True))
    with ProcessPoolExecutor(workers) as pool:
        return dict(zip(ordered, track(pool.map(read, ordered, chunksize=64), label, len(ordered)), strict=True))


def _image_size(root: Path, name: str) -> tuple[int, int] | str:
    try:
        return open_image(root, name).size
    except ValueError as error:
        return str(error)


def _measure(
    rows: Rows, accepted: list[int], sizes: dict[str, Any], tokens_of: Mapping[Video, Any], processor: Any,
    settings: InputSettings, max_length: int, variants: Variants, joined: bool,
) -> tuple[AcceptedRows, dict[int, Problem]]:  # fmt: skip
    """Find the trained characters of every row and count its tokens; rows that cannot be trained are returned."""
    count_tokens = image_token_counter(processor, settings)
    joinable = not uses_prompt_suffix(processor)
    groups: dict[tuple[str, ...], int] = {}
    kept: list[tuple[int, int, int, int]] = []
    unfit: dict[int, Problem] = {}
    starts = range(0, len(accepted), _CHUNK)
    for start in track(starts, "counting tokens", len(starts)):
        chunk, texts = [], []
        for row in accepted[start : start + _CHUNK]:
            sample = rows[row]
            try:
                texts.append(_longest_text(processor, sample, row, settings, variants))
                chunk.append((row, sample))
            except UntrainableRow as error:
                unfit[row] = (sample.id, error.reason, str(error))
        encoded = processor.tokenizer(texts, add_special_tokens=True)["input_ids"] if texts else []
        for (row, sample), ids in zip(chunk, encoded, strict=True):
            try:
                image_tokens = round(sum(count_tokens(sizes[name], len(sample.image)) for name in sample.image))
            except ValueError as error:
                unfit[row] = (sample.id, "image", f"the processor does not take an image of the row: {error}")
                continue
            image_tokens += sum(tokens_of[file] for file in (*videos_of(sample), *audios_of(sample)))
            tokens = len(ids) + image_tokens
            if tokens > max_length:
                unfit[row] = (sample.id, "too_long", f"{tokens} tokens, max_length is {max_length}")
                continue
            alone = not joinable or not can_join(sample)
            alone |= joined and not alone and not _can_be_joined(processor, sample, row, settings, variants)
            group = -1 if alone else groups.setdefault(sample.image, len(groups))
            kept.append((row, group, tokens, image_tokens))
    columns = np.array(kept, dtype=np.int64).reshape(-1, 4).T
    return AcceptedRows(*columns), unfit


def _variants(sample: Sample, *, sample_answers: bool, pairs: bool) -> Sequence[Sample]:
    """The forms in which training may use a row: itself, with another of its answers, or the sides of a pair."""
    if pairs:
        return pair_of(sample)
    if not sample_answers or not can_sample_answer(sample):
        return [sample]
    return [sample, *(with_answer(sample, answer) for answer in sorted({*sample.answers} - {sample.answer}))]


def _longest_text(processor: Any, sample: Sample, row: int, settings: InputSettings, variants: Variants) -> str:
    """The longest chat of a sample, after the trained characters of each were found.

    Raises:
        UntrainableRow: those of one cannot be found.
    """
    conversations = (join_rows([one], [row]) for one in variants(sample))
    return max((render_with_spans(processor, one, settings).text for one in conversations), key=len)


def _can_be_joined(processor: Any, sample: Sample, row: int, settings: InputSettings, variants: Variants) -> bool:
    """Whether the trained characters of a sample are also found between other questions."""
    other = replace(sample, conversations=(Turn("user", "a"), Turn("assistant", "b")), meta={})
    for one in variants(sample):
        try:
            render_with_spans(processor, join_rows([other, one, other], [row] * 3), settings)
        except UntrainableRow:
            return False
    return True
