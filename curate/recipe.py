"""What ``curate run`` reads: one strict YAML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from curate.config import StrictModel, load_recipe
from curate.settings import MeasureSettings, SourceSettings

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


class Rule(StrictModel):
    """One rule of the policy.

    Attributes:
        when: boolean SQL expression over the columns that ``curate signals`` lists.
        action: ``drop`` takes the row out; ``flag`` keeps it and marks it.
    """

    when: str
    action: Literal["drop", "flag"]


class MatchSettings(StrictModel):
    """When two pictures count as the same one.

    Attributes:
        hash: which perceptual hash proposes pairs; ``both`` proposes what either finds.
        radius: largest Hamming distance of a proposed pair, in bits of 64.
        confirm: largest mean absolute difference of the 16×16 colour thumbnails (0-255).
        confirm_cell: largest difference of any one of the 256 cells (mean of its three channels,
            0-255). A shape that moved changes few cells a lot, a re-encoded file all cells a little.
    """

    hash: Literal["phash", "dhash", "both"] = "both"
    radius: int = Field(default=8, ge=0, le=16)
    confirm: float = Field(default=4.0, ge=0, le=255)
    confirm_cell: float = Field(default=36.0, ge=0, le=255)


class DuplicateSettings(MatchSettings):
    """``duplicates:`` in a recipe; adds the rules ``duplicate`` and ``conflicting``.

    Attributes:
        scope: ``question`` drops a row when a near-identical image carries the same question and
            answer; ``image`` keeps the rows of one image per group.
        keep: what makes a row the one to keep, most important first: ``pixels`` (more),
            ``votes`` (more answers), ``id`` (smaller).
    """

    scope: Literal["question", "image"] = "question"
    keep: tuple[Literal["pixels", "votes", "id"], ...] = ("pixels", "votes", "id")


def benchmark_name(settings: SourceSettings) -> str:
    """How an evaluation set is called in reports: ``source/split``, or the file's name."""
    named = "/".join(part for part in (settings.source, settings.split) if part)
    return named or Path(settings.location).stem


class ContaminationSettings(MatchSettings):
    """``contamination:`` in a recipe; adds the rule ``contaminated``.

    Attributes:
        against: evaluation sets, written like entries of ``sources:``.
        questions: also record whether the evaluation set asks the same question about the image
            (column ``contaminated_question``). The rule itself fires on the image.
    """

    against: list[SourceSettings] = Field(min_length=1)
    questions: bool = True

    @field_validator("against")
    @classmethod
    def _different_names(cls, against: list[SourceSettings]) -> list[SourceSettings]:
        names = [benchmark_name(one) for one in against]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two evaluation sets are called {name!r}; set 'source' or 'split' of one")
        return against


class CurateRecipe(StrictModel):
    """A whole recipe.

    Attributes:
        name: names the result; the default of ``out`` is ``data/curated/<name>``.
        seed: picks the card's examples.
        sources: datasets, read in this order.
        signals: what is measured.
        rules: name → rule; the order decides which dropping rule is a row's reason. A rule named
            ``duplicate``, ``conflicting`` or ``contaminated`` replaces the one its section adds.
        corrections: folder with reviewers' ``*.jsonl`` files; need not exist.
        losses: ``losses.parquet`` of earlier training runs, for the column ``loss``.
    """

    name: str
    out: Path | None = None
    seed: int = 0
    sources: list[SourceSettings] = Field(min_length=1)
    signals: MeasureSettings = MeasureSettings()
    rules: dict[str, Rule] = Field(default_factory=dict)
    duplicates: DuplicateSettings | None = None
    contamination: ContaminationSettings | None = None
    corrections: Path | None = None
    losses: list[Path] = Field(default_factory=list)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError("a name has letters, digits, '.', '_' and '-' only and starts with a letter")
        return name

    @field_validator("rules", mode="before")
    @classmethod
    def _from_list(cls, rules: Any) -> Any:
        """A manifest, whose keys are sorted, holds rules as a list: ``[{name: …, when: …, action: …}]``."""
        if not isinstance(rules, list):
            return rules
        named = {one.get("name"): one for one in rules if isinstance(one, dict)}
        if len(named) < len(rules) or not all(isinstance(name, str) for name in named):
            raise ValueError("a list of rules needs a 'name' in each, none twice")
        return {name: {key: value for key, value in one.items() if key != "name"} for name, one in named.items()}

    @field_validator("rules")
    @classmethod
    def _plain_rule_names(cls, rules: dict[str, Rule]) -> dict[str, Rule]:
        for name in rules:
            if not _NAME.fullmatch(name):
                raise ValueError(f"rule {name!r}: a name has letters, digits, '.', '_' and '-' only")
        return rules

    @property
    def folder(self) -> Path:
        """Where the result lies."""
        return self.out or Path("data/curated") / self.name


# Built-in rules; the ones of a section are added when the recipe has that section.
BAD_ROW = Rule(when="bad_row IS NOT NULL", action="drop")
CONTAMINATED = Rule(when="contaminated", action="drop")
CONFLICTING = Rule(when="conflicting AND answer_words <= 3", action="flag")
DUPLICATE = Rule(when="duplicate", action="drop")


def all_rules(recipe: CurateRecipe) -> dict[str, Rule]:
    """The recipe's rules with the built-in ones, in the order in which reasons are sought."""
    rules = {"bad_row": BAD_ROW, **recipe.rules}
    if recipe.contamination:
        rules.setdefault("contaminated", CONTAMINATED)
    if recipe.duplicates:
        rules.setdefault("conflicting", CONFLICTING)
        rules.setdefault("duplicate", DUPLICATE)
    return rules


def read_recipe(path: Path) -> CurateRecipe:
    """Load and check a recipe; UserError says what is wrong with it."""
    return load_recipe(path, CurateRecipe)
