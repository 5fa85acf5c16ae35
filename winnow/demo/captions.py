"""Caption rows: several references an image, saying no more than its own questions prove."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from winnow.demo.easy_vqa import Facts, Question, facts
from winnow.records import Sample, Turn

SOURCE = "easy_vqa_captions"
REQUESTS = (
    "Describe the image.",
    "What does the image show?",
    "Write a short caption.",
    "Describe the image in one sentence.",
)
PHRASINGS = (
    "a {colour} {shape}",
    "there is a {colour} {shape} in the image",
    "the image shows a {shape} that is {colour}",
    "the image contains a {colour} {shape}",
    "a {shape} in {colour}",
    "an image of a {colour} {shape}",
    "the {shape} in the image is {colour}",
    "a {shape}, colored {colour}",
)
REFERENCES = 5


@dataclass(frozen=True, slots=True)
class Caption:
    """A request and the references that answer it; the first one is what training uses."""

    request: str
    references: tuple[str, ...]


def caption(known: Facts, rng: random.Random) -> Caption | None:
    """A caption row about an image, or None unless both its colour and its shape are known.

    Five of eight phrasings in random order, so that references differ from image to image as those
    of human annotators do and no single phrasing is always among them.
    """
    if known.colour is None or known.shape is None:
        return None
    chosen = rng.sample(PHRASINGS, REFERENCES)
    references = tuple(phrasing.format(colour=known.colour, shape=known.shape) for phrasing in chosen)
    return Caption(rng.choice(REQUESTS), references)


def caption_samples(grouped: Mapping[int, list[Question]], split: str, rng: random.Random) -> list[Sample]:
    """One caption row for every image whose questions give away both colour and shape."""
    samples = []
    for image_id, asked in grouped.items():
        made = caption(facts((question.text, question.answer) for question in asked), rng)
        if made:
            turns = (Turn("user", made.request), Turn("assistant", made.references[0]))
            samples.append(
                Sample(
                    id=f"{SOURCE}/{split}/{image_id}",
                    image=(f"images/{split}/{image_id}.png",),
                    conversations=turns,
                    answers=made.references,
                    source=SOURCE,
                    split=split,
                    meta={"question_type": "caption"},
                )
            )
    return samples


def caption_table(samples: Iterable[Sample]) -> pa.Table:
    """Caption rows as a plain table: id, image, question, answers, split, source."""
    table = [
        {
            "id": sample.id,
            "image": sample.image[0],
            "question": sample.question,
            "answers": list(sample.answers),
            "split": sample.split,
            "source": sample.source,
        }
        for sample in samples
    ]
    text = pa.string()
    names = {"id": text, "image": text, "question": text, "answers": pa.list_(text), "split": text, "source": text}
    return pa.Table.from_pylist(table, schema=pa.schema(names))
