"""What ``curate run`` reads: one strict YAML file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from curate.exports.settings import ExportSettings
from curate.settings import MeasureSettings, RemoteSettings, SourceSettings
from winnow.recipe import StrictModel, load_recipe

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
            It holds for pictures of 64 pixels and less, and falls with 1 / side for larger ones, whose
            compression moves a cell less, down to what ``confirm_contrast`` allows.
        confirm_contrast: the same in units of the picture's contrast (standard deviation of its
            thumbnail): two pages or forms differ in few words only, and their thumbnails are pale.
    """

    hash: Literal["phash", "dhash", "both"] = "both"
    radius: int = Field(default=8, ge=0, le=16)
    confirm: float = Field(default=4.0, ge=0, le=255)
    confirm_cell: float = Field(default=36.0, ge=0, le=255)
    confirm_contrast: float = Field(default=0.5, ge=0)


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


class SplitSettings(StrictModel):
    """``splits:`` in a recipe, e.g. ``{train: 0.9, val: 0.1, seed: 0}``.

    Attributes:
        shares: name → share of the groups of rows that belong together; they add up to 1.
        seed: another one makes other splits.
    """

    shares: dict[str, float]
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _shares_beside_the_seed(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "shares" in values:
            return values
        shares = {name: share for name, share in values.items() if name != "seed"}
        return {"shares": shares, **{key: values[key] for key in values.keys() & {"seed"}}}

    @field_validator("shares")
    @classmethod
    def _add_up(cls, shares: dict[str, float]) -> dict[str, float]:
        for name, share in shares.items():
            if not _NAME.fullmatch(name) or not 0 < share <= 1:
                raise ValueError(f"split {name!r}: needs a plain name and a share above 0")
        if len(shares) < 2 or abs(sum(shares.values()) - 1) > 1e-6:
            raise ValueError("the shares of at least two splits must add up to 1, as in {train: 0.9, val: 0.1}")
        return shares


def benchmark_name(settings: SourceSettings) -> str:
    """How an evaluation set is called in reports: ``source/split``, or the file's name."""
    named = "/".join(part for part in (settings.source, settings.split) if part)
    return named or Path(settings.location).stem


class ContaminationSettings(MatchSettings):
    """``contamination:`` in a recipe; adds the rule ``contaminated``.

    Attributes:
        against: evaluation sets, written like entries of ``sources:``.
        questions: also record whether the evaluation set asks the same question about the image
            (column ``contaminated_question``), and match rows without images by their question.
            For rows with images the rule itself fires on the image.
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
        remote: how images behind URLs are fetched; null (the default) fetches none.
        signals: what is measured.
        rules: name → rule; the order decides which dropping rule is a row's reason. A rule named
            ``duplicate``, ``conflicting`` or ``contaminated`` replaces the one its section adds.
        corrections: folder with reviewers' ``*.jsonl`` files; need not exist.
        losses: ``losses.parquet`` of earlier training runs, for ``train_loss`` and
            ``train_loss_first``.
        splits: parts of the curated set, between which no picture is shared.
        exports: other forms of the curated set, by name of the format or with settings.
    """

    name: str
    out: Path | None = None
    seed: int = 0
    sources: list[SourceSettings] = Field(min_length=1)
    remote: RemoteSettings | None = None
    signals: MeasureSettings = MeasureSettings()
    rules: dict[str, Rule] = Field(default_factory=dict)
    duplicates: DuplicateSettings | None = None
    contamination: ContaminationSettings | None = None
    corrections: Path | None = None
    losses: list[Path] = Field(default_factory=list)
    splits: SplitSettings | None = None
    exports: list[ExportSettings] = Field(default_factory=list)

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

    @field_validator("exports", mode="before")
    @classmethod
    def _by_name(cls, exports: Any) -> Any:
        """``trl`` is short for ``{to: trl}``."""
        if not isinstance(exports, list):
            return exports
        return [{"to": one} if isinstance(one, str) else one for one in exports]

    @field_validator("exports")
    @classmethod
    def _different_folders(cls, exports: list[ExportSettings]) -> list[ExportSettings]:
        places = [str(one.out or one.to) for one in exports]
        if len(set(places)) < len(places):
            raise ValueError("two exports go to the same folder; give one of them another 'out'")
        return exports

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
