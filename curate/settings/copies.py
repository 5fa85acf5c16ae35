"""``duplicates:``, ``semantic:``, ``contamination:`` and ``similar_texts:`` of a recipe: what counts as the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from curate.kinds import KINDS, Kind
from curate.settings.sources import SourceSettings, benchmark_name
from winnow.files import LONGEST_NAME, file_name
from winnow.recipe import StrictModel


class MatchSettings(StrictModel):
    """When two images count as the same one.

    Attributes:
        hash: which perceptual hash proposes pairs; ``both`` proposes what either finds.
        radius: largest Hamming distance of a proposed pair, in bits of 64.
        max_mean_diff: largest mean absolute difference of the 16×16 colour thumbnails (0-255).
        max_cell_diff: largest difference of any one of the 256 cells (mean of its three channels,
            0-255). A shape that moved changes few cells a lot, a re-encoded file all cells a little.
            It holds for images of 64 pixels and less, and falls with 1 / side for larger ones, whose
            compression moves a cell less, down to what ``max_contrast_diff`` allows.
        max_contrast_diff: the same in units of the image's contrast (standard deviation of its
            thumbnail): two pages or forms differ in few words only, and their thumbnails are pale.
    """

    RENAMED: ClassVar[dict[str, str]] = {
        "confirm": "max_mean_diff",
        "confirm_cell": "max_cell_diff",
        "confirm_contrast": "max_contrast_diff",
    }

    hash: Literal["phash", "dhash", "both"] = "both"
    radius: int = Field(default=8, ge=0, le=16)
    max_mean_diff: float = Field(default=4.0, ge=0, le=255)
    max_cell_diff: float = Field(default=36.0, ge=0, le=255)
    max_contrast_diff: float = Field(default=0.5, ge=0)


Action = Literal["drop", "flag", "ignore"]
Actions = dict[Kind, Action]
# What is done about a copy of each kind. Those that flag are seen less surely, or are often kept on purpose.
DUPLICATE_ACTIONS: Mapping[Kind, Action] = {
    "exact": "drop", "re-encoded": "drop", "resized": "drop", "toned": "flag", "brighter": "flag", "cropped": "flag",
    "framed": "flag", "overlaid": "flag", "mirrored": "flag", "turned": "flag",
}  # fmt: skip
CONTAMINATION_ACTIONS: Mapping[Kind, Action] = {
    "exact": "drop", "re-encoded": "drop", "resized": "drop", "toned": "drop", "brighter": "drop", "cropped": "drop",
    "framed": "flag", "overlaid": "flag", "mirrored": "drop", "turned": "flag",
}  # fmt: skip


def _over(defaults: Mapping[Kind, Action]) -> BeforeValidator:
    """Kinds that a recipe does not name have the default action."""
    return BeforeValidator(lambda given: {**defaults, **given} if isinstance(given, dict) else given)


def _without_semantic(kinds: Actions) -> Actions:
    if "semantic" in kinds:
        raise ValueError("semantic copies are not found by their pixels; `kinds` has exact to turned")
    return {kind: kinds[kind] for kind in KINDS if kind in kinds}


def sought(kinds: Actions) -> tuple[Kind, ...]:
    """The kinds that are not ignored, in the order of ``KINDS``."""
    return tuple(kind for kind, action in kinds.items() if action != "ignore")


class DuplicateSettings(MatchSettings):
    """``duplicates:`` in a recipe; adds the rules ``duplicate``, ``edited_copy`` and ``conflicting``.

    Attributes:
        kinds: kind of copy (``curate.kinds``) → ``drop``: a row that repeats another one about such a copy
            of its image is a ``duplicate``; ``flag``: it is an ``edited_copy``; ``ignore``: the kind is not looked for.
        scope: ``question`` drops a row when a near-identical image carries the same question and
            answer; ``image`` keeps the rows of one image per group.
        keep: what makes a row the one to keep, in order of importance: ``pixels`` (more),
            ``votes`` (more answers), ``id`` (smaller).
    """

    kinds: Annotated[Actions, _over(DUPLICATE_ACTIONS), AfterValidator(_without_semantic)] = Field(
        default_factory=lambda: dict(DUPLICATE_ACTIONS)
    )
    scope: Literal["question", "image"] = "question"
    keep: tuple[Literal["pixels", "votes", "id"], ...] = ("pixels", "votes", "id")


class SemanticSettings(StrictModel):
    """``semantic:`` in a recipe: pictures of the same thing, by their embeddings; adds the rule ``semantic_repeat``.

    Attributes:
        cosine: smallest cosine of two embeddings to count as the same thing. Scales differ between models: see
            docs/explanation/duplicates.md.
        keep: pictures of a cluster that are not flagged: those of most pixels.
    """

    cosine: float = Field(default=0.95, gt=0, le=1)
    keep: int = Field(default=1, ge=1)


class TextLeakSettings(StrictModel):
    """``texts:`` of ``contamination:``: when a row repeats a question and answer of an evaluation set.

    Attributes:
        threshold: smallest Jaccard index of the two questions (``curate.duplicates.texts.shingles``); 1 takes
            equal ones only. The answers are equal when normalised.
        min_words: shorter questions are no evidence.
        most_rows: a question that more rows of either set ask is no evidence.
    """

    threshold: float = Field(default=0.8, ge=0.5, le=1)
    min_words: int = Field(default=6, ge=1)
    most_rows: int = Field(default=10, ge=1)


class ContaminationSettings(MatchSettings):
    """``contamination:`` in a recipe; adds the rules ``contaminated``, ``leak_suspected`` and ``contaminated_text``.

    Attributes:
        against: evaluation sets, written like entries of ``sources:``.
        kinds: kind of copy (``curate.kinds``) → ``drop``: a row whose image is such a copy of an evaluation
            image is ``contaminated``; ``flag``: it is ``leak_suspected``; ``ignore``: the kind is not looked for.
        questions: also record whether the evaluation set asks the same question about the image
            (column ``contaminated_question``), and match rows without images by their question.
            For rows with images the rule itself fires on the image.
        texts: when a row on any image counts as a leaked question and answer (column ``contaminated_text``, which its
            rule flags); null compares none.
    """

    against: list[SourceSettings] = Field(min_length=1)
    kinds: Annotated[Actions, _over(CONTAMINATION_ACTIONS), AfterValidator(_without_semantic)] = Field(
        default_factory=lambda: dict(CONTAMINATION_ACTIONS)
    )
    questions: bool = True
    texts: TextLeakSettings | None = TextLeakSettings()

    @field_validator("against")
    @classmethod
    def _different_names(cls, against: list[SourceSettings]) -> list[SourceSettings]:
        names = [benchmark_name(settings) for settings in against]
        for name in names:
            if name in (".", "..") or len(os.fsencode(file_name(name))) > LONGEST_NAME:
                raise ValueError(f"{name!r:.80} cannot name a folder; give the evaluation set a short 'source'")
            if names.count(name) > 1:
                raise ValueError(
                    f"two evaluation sets are called {name!r}; give one of them another 'source' or 'split'"
                )
        return against


TextField = Literal["question", "answer", "row"]


class TextSettings(StrictModel):
    """``similar_texts:`` in a recipe: rows with nearly the same text; adds the rule ``similar_text``, which flags.

    Attributes:
        of: which texts are compared: all questions of a row; all answers (a caption is one); ``row`` is both together.
        threshold: smallest Jaccard index of two texts' words and pairs of neighbouring words that makes them alike
            (``curate.duplicates.texts.shingles``).
        keep: rows of each group that the rule leaves unmarked, the first in input order.
        min_words: texts of fewer words are left out.
    """

    of: tuple[TextField, ...] = Field(default=("row",), min_length=1)
    threshold: float = Field(default=0.8, ge=0.5, le=1)
    keep: int = Field(default=1, ge=1)
    min_words: int = Field(default=5, ge=1)

    @field_validator("of")
    @classmethod
    def _each_once(cls, of: tuple[TextField, ...]) -> tuple[TextField, ...]:
        if len(set(of)) < len(of):
            raise ValueError("name each text once")
        return of
