"""EvalScope: an evaluation set for its benchmarks ``general_vqa`` and ``general_vmcq``.

``vqa/<split>.jsonl`` has messages up to the last question and ``answer``, the reference; multiple choice goes to
``mcq/<split>.jsonl`` with ``question``, ``options``, the letter of the right one, and ``images`` for ``<image 1>``,
``<image 2>`` … in the question. With ``images: copy`` images are data URIs. See
https://evalscope.readthedocs.io/en/latest/advanced_guides/custom_dataset/vlm.html.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace
from typing import Any

from curate.exports.json_lines import write_lines
from curate.exports.openai_messages import data_uris, messages
from curate.exports.rows import Format, Row, Target
from curate.exports.training import Training, check_plain, check_turns, split_chosen, training
from winnow.rows.parts import IMAGE_MARKER
from winnow.rows.records import Sample

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def evalscope_record(row: Row, paths: list[str], target: Target) -> tuple[str, dict[str, Any]]:
    """A row for EvalScope: ``vqa`` or ``mcq``, and the record."""
    made = training(row, paths, target.curated.media_path)
    check_plain(made, "EvalScope", "objects", "tools", "preference", "kto")
    check_turns(made, one_by_one=True)
    choice = _multiple_choice(row.sample, made)
    if choice:
        return "mcq", choice
    prompt, (answer,) = split_chosen(made)
    prompt = tuple(replace(turn, loss=None) for turn in prompt)  # nothing is learned here
    record = {"id": row.sample.id, "messages": messages(made, prompt), "answer": answer.value}
    return "vqa", record | ({"answers": list(row.sample.answers)} if len(row.sample.answers) > 1 else {})


def _multiple_choice(sample: Sample, row: Training) -> dict[str, Any] | None:
    """The record of a question with options; None if it has none, or more than a question and an answer."""
    options, turns = sample.meta.get("options"), row.turns
    if not isinstance(options, list) or row.system or len(turns) != 2 or row.videos or row.audios:
        return None
    shown = "".join(f"\n{letter}. {text}" for letter, text in zip(_LETTERS, options, strict=False))
    answer = turns[1].value.strip()
    letter = _LETTERS[options.index(answer)] if answer in options[: len(_LETTERS)] else answer
    if not turns[0].value.endswith(shown) or letter not in _LETTERS[: len(options)] or len(letter) != 1:
        return None
    numbers = iter(range(1, len(row.images) + 1))
    question = turns[0].value.removesuffix(shown).replace(f"{IMAGE_MARKER}\n", f"{IMAGE_MARKER} ")
    question = re.sub(IMAGE_MARKER, lambda _: f"<image {next(numbers)}>", question)
    return {"id": sample.id, "question": question, "options": options, "answer": letter, "images": row.images}


_LOAD = """```bash
evalscope eval --datasets %s --dataset-args '{{"%s": {{"local_path": "{folder}", "subset_list": ["{stem}"]}}}}' …
```"""

FORMATS = {
    "evalscope": Format(
        functools.partial(
            write_lines,
            record_of=evalscope_record,
            kinds=("vqa", "mcq"),
            names="{kind}/{split}.jsonl",
            copied=data_uris,
        ),
        {"vqa": _LOAD % ("general_vqa", "general_vqa"), "mcq": _LOAD % ("general_vmcq", "general_vmcq")},
    )
}
