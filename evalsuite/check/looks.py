"""What one row shows by itself: empty references, options that the prompt hides, texts in Chinese, long answers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from evalsuite.check.findings import shown
from evalsuite.metrics import METRICS
from evalsuite.tasks.load import TaskRow
from evalsuite.tasks.spec import TaskSpec

# Writing that puts no blanks between words, or builds words of parts: (language, tokeniser to name, its letters).
SCRIPTS = [
    ("Japanese", "ja-mecab", re.compile(r"[\u3040-\u30ff]")),
    ("Korean", "ko-mecab", re.compile(r"[\uac00-\ud7af]")),
    ("Chinese", "zh", re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")),
    ("Thai, Lao, Burmese or Khmer", "char", re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")),
]
_ANY_SCRIPT = re.compile("|".join(pattern.pattern for _, _, pattern in SCRIPTS))
_LETTERED = re.compile(r"(?<!\w)[(\[]?B\s?[.):\]、：]")

Look = Callable[[TaskRow], Iterator[tuple[str, str]]]


def row_looks(spec: TaskSpec, count_tokens: Callable[[str], int] | None) -> Look:
    """What is to be looked at in each row of a task: a function of a row that yields (trouble, what was seen).

    Args:
        count_tokens: of a text, by the model's own tokeniser; None counts words, of which a text has fewer.
    """
    limit, letters = spec.generation.max_new_tokens, spec.extraction.kind == "letter"
    count = count_tokens or (lambda text: len(text.split()))
    divided, usual = bool(default_tokenised(spec)), usual_references(spec)

    def look(row: TaskRow) -> Iterator[tuple[str, str]]:
        given = [text for text in row.references if text.strip()]
        if len(given) < len(row.references):
            yield "empty", ""
        if len(row.references) < usual:
            yield "few", ""
        if usual == 1 and len(set(given)) < len(given):
            yield "repeated", shown(Counter(given).most_common(1)[0][0])
        # A token has at least one byte, so most texts need not be counted.
        if given and min(len(text.encode("utf-8", "surrogatepass")) for text in given) > limit:
            shortest = min(given, key=count)
            if (tokens := count(shortest)) > limit:
                yield "long", f"{tokens:,} for “{shown(shortest)}”"
        if divided and (text := next(filter(_ANY_SCRIPT.search, given), None)):
            yield next(name for name, _, pattern in SCRIPTS if pattern.search(text)), shown(text)
        if spec.options is not None and not row.choices:
            yield "no options", ""
        if letters and row.choices:
            prompt = row.prompt.casefold()
            hidden = next((text for text in row.choices if text.strip().casefold() not in prompt), None)
            if hidden is not None:
                yield "hidden", shown(hidden)
            elif not _LETTERED.search(row.prompt):
                yield "no letters", ""
            elif "{options}" in spec.prompt and all(option in row.question for option in row.choices):
                yield "options twice", ""

    return look


def default_tokenised(spec: TaskSpec) -> list[str]:
    """The task's metrics that divide texts into words by the default tokeniser."""
    return [
        key
        for key, settings in spec.metrics.items()
        if "tokenize" in METRICS[settings.metric or key].options and settings.tokenize == "ptb"
    ]


def usual_references(spec: TaskSpec) -> int:
    """How many references of a row the task's metrics are made for."""
    return max(METRICS[settings.metric or key].usual_references for key, settings in spec.metrics.items())
