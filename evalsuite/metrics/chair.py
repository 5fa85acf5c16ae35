"""CHAIR: objects that a caption names and the image does not show (Rohrbach et al. 2018), for COCO's 80 objects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from evalsuite.metrics.base import (
    Answers,
    HubModule,
    Metric,
    MetricOptions,
    Quantity,
    Reading,
    Row,
    Scores,
    check_captions,
    ratio_of_sums,
)
from evalsuite.statistics import mean_of_sums
from winnow.errors import UserError
from winnow.strict_yaml import read_mapping

_WORD = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
# Ends of words.
_IRREGULAR = {
    "children": "child", "men": "man", "mice": "mouse", "geese": "goose", "knives": "knife", "calves": "calf",
    "oxen": "ox",
}  # fmt: skip


@dataclass(frozen=True)
class ChairScores:
    """CHAIR of a set of captions; for both lower is better.

    Attributes:
        chair_s: share of captions that name an object which is not there.
        chair_i: share of named objects, with repetition, that are not there; 0 if none is named.
        cover: share of the objects that are there which the captions name.
        per_sample: id → objects that the caption names and that are not there, as a share of those it names.
    """

    chair_s: float
    chair_i: float
    cover: float
    per_sample: dict[str, float]


@dataclass(frozen=True)
class _Vocabulary:
    """Word → object, pair of words → the word in its place, and all single words in these."""

    objects: Mapping[str, str]
    pairs: Mapping[str, str]
    words: frozenset[str]


@lru_cache(maxsize=1)
def _vocabulary() -> _Vocabulary:
    listed = read_mapping(Path(__file__).with_name("coco_objects.yaml"))
    objects = {word: name for name, words in listed["synonyms"].items() for word in (name, *words)}
    pairs = {word: word for word in objects if word.count(" ") == 1} | listed["pairs"]
    pairs |= {f"{first} {word}": word for first in listed["qualifiers"] for word in listed["qualified"]}
    pairs |= {f"passenger {word}": word for word in listed["vehicles"]}
    return _Vocabulary(objects, pairs, frozenset(word for text in (*objects, *pairs) for word in text.split()))


def _singular(word: str, words: frozenset[str]) -> str:
    """The word of the vocabulary of which this is the plural, or which it is; else as it stands."""
    if word in words:
        return word
    stems = [word.removesuffix(end) + stem for end, stem in _IRREGULAR.items() if word.endswith(end)]
    if word.endswith("s"):
        stems += [word[:-1], word.removesuffix("es"), word.removesuffix("ies") + "y"]
    return next((stem for stem in stems if stem in words), word)


def objects_in(text: str) -> list[str]:
    """COCO's objects that a text names, by their names in COCO, in order and with repetition.

    Equal to the published code but for its way to make plurals singular, which loses "bus" and rare plurals.
    """
    known = _vocabulary()
    words = [_singular(word, known.words) for word in _WORD.findall(text.lower())]
    read = list(_joined(words, known.pairs))
    if "toilet" in read and "seat" in read:  # the seat of a toilet is no chair
        read = [word for word in read if word != "seat"]
    return [known.objects[word] for word in read if word in known.objects]


def _joined(words: Sequence[str], pairs: Mapping[str, str]) -> Iterator[str]:
    place = 0
    while place < len(words):
        pair = " ".join(words[place : place + 2])
        yield pairs.get(pair, words[place])
        place += 2 if pair in pairs else 1


def chair(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> ChairScores:
    """CHAIR of captions against what is known to be in their images.

    Args:
        references: for each image its objects, or captions of people, or both; COCO's evaluation uses both.

    Raises:
        UserError: the ids of predictions and references differ, or there are none.
    """
    check_captions(predictions, references)
    counted = {key: _counts(text, references[key]) for key, text in predictions.items()}
    totals = np.array(list(counted.values()), dtype=np.float64).sum(0)
    return ChairScores(
        chair_s=sum(wrong > 0 for wrong, _, _, _ in counted.values()) / len(counted),
        chair_i=float(totals[0] / totals[1]) if totals[1] else 0.0,
        cover=float(totals[2] / totals[3]) if totals[3] else 0.0,
        per_sample={key: wrong / named if named else 0.0 for key, (wrong, named, _, _) in counted.items()},
    )


def _counts(text: str, references: Sequence[str]) -> tuple[int, int, int, int]:
    """Named objects that are not there, named objects; those there that are named, those there."""
    there = {name for reference in references for name in objects_in(reference)}
    named = objects_in(text)
    return sum(name not in there for name in named), len(named), len(there & set(named)), len(there)


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    pairs = zip(answers.ids, answers.texts, answers.references, strict=True)
    counts = []
    for key, text, references in pairs:
        found = _counts(text or "", references)
        if not found[3]:
            raise UserError(f"{key}: its references name none of COCO's objects, so CHAIR cannot judge it")
        counts.append(found)
    wrong, named, covered, there = np.array(counts, dtype=np.float64).reshape(-1, 4).T
    answered = np.array([text is not None for text in answers.texts], dtype=np.float64)
    lost = int(len(answered) - answered.sum())
    rest = f"; {lost:,} rows without an answer are left out" if lost else ""
    bad = (wrong > 0).astype(np.float64)
    share = np.divide(wrong, named, out=np.zeros_like(wrong), where=named > 0)
    return {
        "_s": Scores(
            per_row=np.where(answered > 0, 1.0 - bad, np.nan), sums=np.stack([bad, answered], axis=1),
            estimate=mean_of_sums, variant=f"captions with an object that is not there, COCO's synonyms{rest}",
        ),
        "_i": Scores(
            per_row=np.where(named > 0, 1.0 - share, np.nan), sums=np.stack([wrong, named], axis=1),
            estimate=ratio_of_sums(0, 1), variant="named objects that are not there, with repetition",
        ),
        "_cover": Scores(
            per_row=covered / there, sums=np.stack([covered, there], axis=1), estimate=ratio_of_sums(0, 1),
            variant="objects that are there which the caption names",
        ),
    }  # fmt: skip


def _read(row: Row, options: MetricOptions, rule: str) -> Reading:
    if row["extracted"] is None:
        return Reading(rule, None, "", None)
    named = objects_in(row["extracted"])
    there = {name for reference in row["references"] for name in objects_in(reference)}
    missing = [name for name in named if name not in there]
    return Reading(rule, ", ".join(named), f"not there: {', '.join(missing)}" if missing else "", float(not missing))


CHAIR = Metric(
    name="chair",
    about="Objects that captions name and images do not show (Rohrbach et al. 2018); lower is better, except cover.",
    numbers={
        "_s": Quantity(
            title="CHAIR, captions (lower is better)",
            top=None,
            right_from=1.0,
            mean_of_rows=False,
            lower_is_better=True,
        ),
        "_i": Quantity(title="CHAIR, objects (lower is better)", top=None, mean_of_rows=False, lower_is_better=True),
        "_cover": Quantity(title="objects covered", mean_of_rows=False),
    },
    score=_score,
    read_row=_read,
    modules=(
        HubModule(
            name="chair",
            about="CHAIR: COCO objects that a caption names and the image does not show.",
            citation="Rohrbach et al., Object Hallucination in Image Captioning, EMNLP 2018",
            url="https://github.com/LisaAnne/Hallucination",
            score=chair,
            whole_set=True,
            columns={"predictions": "one caption an image.", "references": "objects or captions of each image."},
            example='metric.compute(predictions=["a dog and a cat"], references=[["dog"]])["chair_i"]\n0.5',
            gives="chair_s, chair_i, cover and per_sample.",
        ),
    ),
)
