"""Checks every row before a weight is loaded and counts its tokens: rows that cannot be trained get a reason.

It also estimates what images cost, in tokens and later in memory, under several caps on their pixels.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table

from finetune.data.chat import (
    TrainingConversation,
    can_join,
    can_sample_answer,
    chat_text,
    control_tokens,
    is_trained,
    join_rows,
    prompt_and_suffix,
    prompt_suffix_problem,
    uses_prompt_suffix,
    with_answer,
)
from finetune.data.rows import Rows, capped_size, open_image
from finetune.data.schedule import AcceptedRows
from winnow.carried import objects_of
from winnow.conversations import IMAGE_MARKER
from winnow.errors import UserError
from winnow.files import write_text
from winnow.progress import track
from winnow.records import Sample, Turn

IMAGE_COSTS = "image_costs.json"
_PIXEL_CAPS = (1024 * 1024, 768 * 768, 512 * 512, 336 * 336)
_MOST_SIZES = 32
Size = tuple[int, int]


def image_token_counter(processor: Any) -> Callable[[Size], int]:
    """A function that gives the tokens that an image of (width, height) adds to a chat; measured once per size."""

    @cache
    def count(size: Size) -> int:
        conversation = TrainingConversation((Turn("user", "a"), Turn("assistant", "b")), ("",), (0,))
        text = chat_text(processor, conversation)
        parts = {"text": [text]}
        if uses_prompt_suffix(processor):
            prompt, answer = prompt_and_suffix(conversation)
            parts = {"text": [prompt], "suffix": [answer]}
        output = processor(**parts, images=[[Image.new("RGB", size)]], add_special_tokens=True)
        return len(output["input_ids"][0]) - len(processor.tokenizer(text, add_special_tokens=True)["input_ids"])

    return count


def image_costs(
    sizes: Mapping[Size, int], count_tokens: Callable[[Size], int], longest_text: int, max_pixels: int | None
) -> list[dict[str, Any]]:
    """Tokens of the images and of the longest row under the recipe's cap and tighter ones, a dict for each cap.

    Args:
        sizes: (width, height) → number of images; of more than 32 sizes, 32 across the range of areas are used.
        count_tokens: tokens of an image of (width, height).
        longest_text: text tokens of the longest row.
        max_pixels: the recipe's cap, the first of the list.
    """
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    if not ordered:
        return [{"max_pixels": None, "image_mean": 0.0, "image_max": 0, "longest": longest_text}]
    step = max(1, (len(ordered) - 1) / (_MOST_SIZES - 1))
    taken = {ordered[round(place * step)] for place in range(int((len(ordered) - 1) / step) + 1)} | {ordered[-1]}
    largest = ordered[-1][0] * ordered[-1][1]
    limit = largest if max_pixels is None else min(max_pixels, largest)
    caps = [max_pixels, *(cap for cap in _PIXEL_CAPS if cap < limit)]
    lines = []
    for cap in caps:
        tokens = {size: count_tokens(capped_size(size, cap)) for size in taken}
        weight = sum(sizes[size] for size in taken)
        mean = sum(tokens[size] * sizes[size] for size in taken) / weight
        most = max(tokens.values())
        lines.append(
            {"max_pixels": cap, "image_mean": round(mean, 1), "image_max": most, "longest": longest_text + most}
        )
    return lines


def image_cost_table(lines: Sequence[dict[str, Any]], batch_size: int) -> Table:
    """``image_costs`` for the terminal; the first line is the recipe as it is."""
    table = Table("max_pixels", "tokens per image", "at most", "longest row", "longest batch", title="what images cost",
                  title_justify="left")  # fmt: skip
    with_memory = any("memory" in line for line in lines)
    if with_memory:
        table.add_column("memory, about")
    for line in lines:
        cap = "none" if line["max_pixels"] is None else f"{line['max_pixels']:,}"
        cells = [cap, f"{line['image_mean']:,.0f}", f"{line['image_max']:,}", f"{line['longest']:,}",
                 f"{line['longest'] * batch_size:,}"]  # fmt: skip
        table.add_row(*cells, *([f"{line['memory'] / 2**30:.1f} GiB"] if with_memory else []))
    for column in table.columns:
        column.justify = "right"
    return table


def read_image_costs(path: Path) -> list[dict[str, Any]]:
    """The entries of an ``image_costs.json``; empty if there is no such file."""
    lines: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return lines


_CHUNK = 512
Problem = tuple[str, str, str]  # sample_id, reason, detail


@dataclass(frozen=True)
class Preflight:
    """Result of the row check.

    Attributes:
        rejected: reason → number of rows, most frequent first.
        sizes: (width, height) under the pixel cap → number of images; empty if read from an earlier check.
    """

    accepted: AcceptedRows
    rejected: dict[str, int]
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)


def check_rows(
    rows: Rows, processor: Any, *, max_length: int, max_pixels: int | None, max_reject: float, sample_answers: bool,
    workers: int, rejects: Path, chosen: Sequence[int] | None = None,
) -> Preflight:  # fmt: skip
    """Check the form, images, control tokens and length of every row; rejected rows go to ``rejects`` (JSONL).

    Args:
        max_pixels: larger images are counted as scaled down to this area.
        sample_answers: training samples from ``answers``, so all of them are checked.
        workers: processes that open images.
        chosen: the rows to check; None: all.

    Raises:
        UserError: an id occurs twice, no row is left, or the share of rejected rows is above ``max_reject``.
    """
    problems: dict[int, Problem] = {}
    images: dict[int, tuple[str, ...]] = {}
    seen: dict[str, int] = {}
    forbidden = control_tokens(processor)
    wanted = range(len(rows)) if chosen is None else chosen
    for row in track(wanted, "reading rows", len(wanted)):
        try:
            sample = rows[row]
        except UserError as error:
            problems[row] = ("", "unreadable_row", str(error))
            continue
        if sample.id in seen:
            raise UserError(f"id {sample.id!r} occurs twice, in {rows.where(seen[sample.id])} and {rows.where(row)}")
        seen[sample.id] = row
        varies = sample_answers and can_sample_answer(sample)
        variants = [with_answer(sample, answer) for answer in sorted(set(sample.answers))] if varies else []
        found = next(filter(None, (form_problem(variant, forbidden) for variant in (sample, *variants))), None)
        if not found and uses_prompt_suffix(processor) and (detail := prompt_suffix_problem(sample)):
            found = "not_one_question_and_answer", detail
        if found:
            problems[row] = (sample.id, *found)
        else:
            images[row] = sample.image
    sizes = _image_sizes(rows.image_root, {name for names in images.values() for name in names}, workers)
    for row, names in list(images.items()):
        if broken := next(((name, sizes[name]) for name in names if isinstance(sizes[name], str)), None):
            problems[row] = (rows[row].id, "image", f"{broken[0]}: {broken[1]}")
            del images[row]
    sizes = {name: size if isinstance(size, str) else capped_size(size, max_pixels) for name, size in sizes.items()}
    accepted, too_long = _measure(rows, list(images), sizes, processor, max_length, sample_answers)
    problems.update(too_long)
    lines = [
        json.dumps({"sample_id": problems[row][0], "row": row, "reason": problems[row][1], "detail": problems[row][2]})
        for row in sorted(problems)
    ]
    write_text(rejects, "".join(line + "\n" for line in lines))
    counts = dict(Counter(reason for _, reason, _ in problems.values()).most_common())
    _refuse_too_many(len(wanted), counts, problems, max_reject)
    seen_sizes = Counter(size for name, size in sizes.items() if isinstance(size, tuple))
    return Preflight(accepted, counts, dict(seen_sizes))


def _refuse_too_many(total: int, counts: dict[str, int], problems: dict[int, Problem], max_reject: float) -> None:
    rejected = len(problems)
    if rejected == total or rejected > max_reject * total:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in counts.items())
        most_frequent = next(iter(counts), None)
        row = next((row for row, (_, reason, _) in problems.items() if reason == most_frequent), None)
        example = f" for example {problems[row][0] or f'row {row}'}: {problems[row][2]}." if row is not None else ""
        raise UserError(
            f"{rejected:,} of {total:,} rows cannot be trained ({reasons}), max_reject is {max_reject:.0%};{example}"
            " `finetune train` lists them in rejects.jsonl of its run folder"
        )


def form_problem(sample: Sample, forbidden: frozenset[str]) -> tuple[str, str] | None:
    """Reason and detail if the sample's turns cannot be trained, else None.

    Args:
        forbidden: control tokens, see ``finetune.data.chat.control_tokens``.
    """
    turns = sample.conversations[1:] if sample.conversations[0].role == "system" else sample.conversations
    roles = [turn.role for turn in turns]
    if not any(map(is_trained, turns)):
        return "no_answer", "every answer has loss: false" if "assistant" in roles else "no assistant turn"
    if unfit := _untrainable(sample):
        return unfit
    if len(roles) % 2 or roles != ["user", "assistant"] * (len(roles) // 2):
        return "roles_do_not_alternate", " ".join(turn.role for turn in sample.conversations)
    if not all(turn.value.strip() for turn in turns if turn.role == "assistant"):
        return "empty_answer", "an assistant turn is empty"
    markers = sum(turn.value.count(IMAGE_MARKER) for turn in turns if turn.role == "user")
    stray = sum(turn.value.count(IMAGE_MARKER) for turn in sample.conversations) - markers
    if stray or markers not in (0, len(sample.image)):
        return "markers_do_not_match", f"{markers + stray} {IMAGE_MARKER} markers, {len(sample.image)} images"
    text = "\n".join(turn.value for turn in sample.conversations).replace(IMAGE_MARKER, "")
    if found := next((token for token in sorted(forbidden) if token in text), None):
        return "control_token", found
    return None


def _untrainable(sample: Sample) -> tuple[str, str] | None:
    """Reason and detail if training would lose what the row means."""
    if any(turn.loss and turn.role != "assistant" for turn in sample.conversations):
        return "trained_question", "a turn that is not the assistant's has loss: true"
    if named := next((turn.name for turn in sample.conversations if turn.name and turn.role != "system"), None):
        return "tool_turn", f"has a turn {named}"
    if sample.meta.get("label") is False:
        return "unwanted_answer", "label: false marks the answer as one to avoid"
    if kind := next((kind for kind in ("videos", "audios") if sample.meta.get(kind)), None):
        return "not_only_images", f"has {kind}"
    objects = objects_of(sample.meta)
    marked = (marker for marker in objects for turn in sample.conversations if marker in turn.value)
    if any(objects.values()) and (marker := next(marked, None)):
        return "unresolved_marker", f"{marker} stands for one of meta.objects"
    return None


def _image_sizes(root: Path, names: set[str], workers: int) -> dict[str, tuple[int, int] | str]:
    """Open every image once: name → (width, height), or what is wrong with it."""
    ordered = sorted(names)
    size_of = partial(_image_size, root)
    if workers < 2 or len(ordered) < _CHUNK:
        return dict(zip(ordered, track(map(size_of, ordered), "opening images", len(ordered)), strict=True))
    with ProcessPoolExecutor(workers) as pool:
        found = pool.map(size_of, ordered, chunksize=64)
        return dict(zip(ordered, track(found, "opening images", len(ordered)), strict=True))


def _image_size(root: Path, name: str) -> tuple[int, int] | str:
    try:
        return open_image(root, name).size
    except ValueError as error:
        return str(error)


def _measure(
    rows: Rows, accepted: list[int], sizes: dict[str, Any], processor: Any, max_length: int, sample_answers: bool
) -> tuple[AcceptedRows, dict[int, Problem]]:
    """Count the tokens of every row; rows above ``max_length`` are returned as problems."""
    count_tokens = image_token_counter(processor)
    joinable = not uses_prompt_suffix(processor)
    groups: dict[tuple[str, ...], int] = {}
    kept: list[tuple[int, int, int, int]] = []
    too_long: dict[int, Problem] = {}
    starts = range(0, len(accepted), _CHUNK)
    for start in track(starts, "counting tokens", len(starts)):
        chunk = [(row, rows[row]) for row in accepted[start : start + _CHUNK]]
        if sample_answers:
            chunk = [(row, _with_longest_answer(sample)) for row, sample in chunk]
        texts = [chat_text(processor, join_rows([sample], [row])) for row, sample in chunk]
        encoded = processor.tokenizer(texts, add_special_tokens=True)["input_ids"]
        for (row, sample), ids in zip(chunk, encoded, strict=True):
            image_tokens = sum(count_tokens(sizes[name]) for name in sample.image)
            tokens = len(ids) + image_tokens
            if tokens > max_length:
                too_long[row] = (sample.id, "too_long", f"{tokens} tokens, max_length is {max_length}")
                continue
            group = groups.setdefault(sample.image, len(groups)) if joinable and can_join(sample) else -1
            kept.append((row, group, tokens, image_tokens))
    columns = np.array(kept, dtype=np.int64).reshape(-1, 4).T
    return AcceptedRows(*columns), too_long


def _with_longest_answer(sample: Sample) -> Sample:
    return with_answer(sample, max(sample.answers, key=len)) if can_sample_answer(sample) else sample
