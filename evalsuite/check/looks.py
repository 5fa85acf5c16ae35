"""What one row shows by itself: empty references, options that the prompt hides, answers that are too long."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from evalsuite.tasks.rows import TaskRow
from evalsuite.tasks.spec import TaskSpec
from winnow.text import one_line

_LETTERED = re.compile(r"(?<!\w)[(\[]?B\s?[.):\]、：]")

Look = Callable[[TaskRow], Iterator[tuple[str, str]]]


def row_looks(spec: TaskSpec, count_tokens: Callable[[str], int] | None) -> Look:
    """What is to be looked at in each row of a task: a function of a row that yields (trouble, what was seen).

    Args:
        count_tokens: of a text, by the model's own tokeniser; None counts words, of which a text has fewer.
    """
    limit, letters = spec.generation.max_new_tokens, spec.extraction.kind == "letter"
    count = count_tokens or (lambda text: len(text.split()))

    def look(row: TaskRow) -> Iterator[tuple[str, str]]:
        given = [text for text in row.references if text.strip()]
        if len(given) < len(row.references):
            yield "empty", ""
        if len(set(given)) < len(given):
            yield "repeated", one_line(Counter(given).most_common(1)[0][0])
        # A token has at least one byte, so most texts need not be counted.
        if given and min(len(text.encode("utf-8", "surrogatepass")) for text in given) > limit:
            shortest = min(given, key=count)
            if (tokens := count(shortest)) > limit:
                yield "long", f"{tokens:,} for “{one_line(shortest)}”"
        if spec.options is not None and not row.choices:
            yield "no options", ""
        if letters and row.choices:
            prompt = row.prompt.casefold()
            hidden = next((text for text in row.choices if text.strip().casefold() not in prompt), None)
            if hidden is not None:
                yield "hidden", one_line(hidden)
            elif not _LETTERED.search(row.prompt):
                yield "no letters", ""
            elif "{options}" in spec.prompt and all(row.prompt.count(option) > 1 for option in row.choices):
                yield "options twice", ""

    return look
