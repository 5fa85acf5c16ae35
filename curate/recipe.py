"""What ``curate run`` reads: one strict YAML file.

Its sections are models of ``curate.settings``; rules, the whole recipe and the built-in rules are here.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from curate.settings.copies import ContaminationSettings, DuplicateSettings, SemanticSettings, TextSettings
from curate.settings.outputs import PLAIN_NAME, ExportSettings, SplitSettings
from curate.settings.signals import MeasureSettings
from curate.settings.sources import RemoteSettings, SourceSettings
from winnow.recipe import Place, StrictModel, load_recipe, parse_recipe
from winnow.remote.addresses import local
from winnow.run import MANIFEST, read_manifest


class Rule(StrictModel):
    """One rule of the policy.

    Attributes:
        when: boolean SQL expression over the columns that ``curate signals`` lists; it takes the rows for which it
            is true.
        keep: in place of ``when``, the rows to keep; it takes the others: ``top 30% BY column``, ``top 1000 BY
            column``, ``at most 3 BY column, …`` (of each group; which ones is decided by a digest of the id, or by
            ``ORDER BY column DESC``).
        action: ``drop`` removes the row; ``flag`` keeps and marks it.
        validated: on which labelled rows you have tried the rule, and with what result: goes to the card. Without it,
            `curate run` and the card say so where a row is dropped by one score that nobody has validated.
    """

    when: str | None = None
    keep: str | None = None
    action: Literal["drop", "flag"]
    validated: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _one_condition(self) -> Rule:
        if (self.when is None) == (self.keep is None):
            raise ValueError("a rule needs one of 'when' and 'keep'")
        return self

    @property
    def condition(self) -> str:
        """In words: ``when sharpness < 35`` or ``keep top 30% BY sharpness``."""
        kind, text = ("keep", self.keep) if self.when is None else ("when", self.when)
        return f"{kind} {' '.join((text or '').split())}"


class AnswerSettings(StrictModel):
    """``answers:`` in a recipe: looks for wrong answers; drops and flags nothing. ``{}`` takes the defaults.

    Attributes:
        neighbours: how many of the nearest pictures vote for ``neighbour_confidence``.
        gains: files of ``finetune score``, for ``picture_gain``; of several the mean counts.
    """

    neighbours: int = Field(default=20, ge=1, le=1000)
    gains: list[Path] = Field(default_factory=list)


class CurateRecipe(StrictModel):
    """A whole recipe.

    Attributes:
        name: names the result.
        out: the folder of the result, here or on object storage; null is ``data/curated/<name>``.
        seed: picks the card's examples.
        sources: datasets, read in this order.
        remote: how images behind URLs are fetched; null (the default) fetches none.
        signals: what is measured.
        rules: name → rule; the order decides which dropping rule is a row's reason. A rule named ``duplicate``,
            ``edited_copy``, ``conflicting``, ``contaminated`` or ``leak_suspected`` replaces the one its section adds.
        duplicates: when images and rows count as duplicates; null looks for none.
        contamination: evaluation sets whose images must not be in the set; null compares with none.
        similar_texts: when texts of rows count as alike; null compares none.
        semantic: when pictures count as showing the same thing; null looks for none.
        corrections: folder with reviewers' ``*.jsonl`` files; need not exist.
        losses: ``losses.parquet`` of earlier training runs, for ``train_loss``, ``train_loss_first``,
            ``train_loss_mean``, ``epoch_learned`` and ``forgotten``.
        answers: how wrong answers are looked for, for ``suspect`` and what it is made from; null does not.
        splits: parts of the curated set that share no image.
        exports: formats in which the curated set is also written, by name or with settings.
    """

    name: str
    out: Place | None = None
    seed: int = 0
    sources: list[SourceSettings] = Field(min_length=1)
    remote: RemoteSettings | None = None
    signals: MeasureSettings = MeasureSettings()
    rules: dict[str, Rule] = Field(default_factory=dict)
    duplicates: DuplicateSettings | None = None
    contamination: ContaminationSettings | None = None
    similar_texts: TextSettings | None = None
    semantic: SemanticSettings | None = None
    corrections: Path | None = None
    losses: list[Path] = Field(default_factory=list)
    answers: AnswerSettings | None = None
    splits: SplitSettings | None = None
    exports: list[ExportSettings] = Field(default_factory=list)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if not re.fullmatch(r"\w[\w.-]*", name, re.ASCII):
            raise ValueError("a name has letters, digits, '.', '_' and '-' only and starts with a letter or a digit")
        return name

    @model_validator(mode="after")
    def _embeddings_for_semantic(self) -> CurateRecipe:
        if self.semantic and self.signals.clip is None and self.signals.embedding is None:
            raise ValueError(
                "semantic: compares embeddings; set `embedding: efficientnet-lite0` or `clip:` in `signals:`"
            )
        return self

    @field_validator("rules", mode="before")
    @classmethod
    def _from_list(cls, rules: Any) -> Any:
        """A manifest, whose keys are sorted, holds rules as a list: ``[{name: …, when: …, action: …}]``."""
        if not isinstance(rules, list):
            return rules
        named = {rule.get("name"): rule for rule in rules if isinstance(rule, dict)}
        if len(named) < len(rules) or not all(isinstance(name, str) for name in named):
            raise ValueError("a list of rules needs a different 'name' in each")
        return {name: {key: value for key, value in rule.items() if key != "name"} for name, rule in named.items()}

    @field_validator("rules")
    @classmethod
    def _plain_rule_names(cls, rules: dict[str, Rule]) -> dict[str, Rule]:
        for name in rules:
            if not PLAIN_NAME.fullmatch(name):
                raise ValueError(f"rule {name!r}: a name has letters, digits, '.', '_' and '-' only")
        return rules

    @field_validator("exports", mode="before")
    @classmethod
    def _by_name(cls, exports: Any) -> Any:
        """``trl`` is short for ``{to: trl}``."""
        if not isinstance(exports, list):
            return exports
        return [{"to": export} if isinstance(export, str) else export for export in exports]

    @field_validator("exports")
    @classmethod
    def _different_folders(cls, exports: list[ExportSettings]) -> list[ExportSettings]:
        places = [str(export.out or export.to) for export in exports]
        if len(set(places)) < len(places):
            raise ValueError("two exports go to the same folder; give one of them another 'out'")
        return exports

    @property
    def folder(self) -> Path:
        """Where the result lies."""
        return local(self.out) if self.out else Path("data/curated") / self.name


# Built-in rules; the ones of a section are added when the recipe has that section.
BAD_ROW = Rule(when="bad_row IS NOT NULL", action="drop")
CONTAMINATED = Rule(when="contaminated", action="drop")
LEAK_SUSPECTED = Rule(when="leak_suspected", action="flag")
CONFLICTING = Rule(when="conflicting AND answer_words <= 3", action="flag")
DUPLICATE = Rule(when="duplicate", action="drop")
CONTAMINATED_TEXT = Rule(when="contaminated_text", action="flag")
EDITED_COPY = Rule(when="edited_copy", action="flag")


def all_rules(recipe: CurateRecipe) -> dict[str, Rule]:
    """The recipe's rules with the built-in ones; the first dropping rule that fires is a row's reason."""
    rules = {"bad_row": BAD_ROW, **recipe.rules}
    if recipe.contamination:
        rules.setdefault("contaminated", CONTAMINATED)
        if "flag" in recipe.contamination.kinds.values():
            rules.setdefault("leak_suspected", LEAK_SUSPECTED)
        if recipe.contamination.texts:
            rules.setdefault("contaminated_text", CONTAMINATED_TEXT)
    if recipe.duplicates:
        rules.setdefault("conflicting", CONFLICTING)
        rules.setdefault("duplicate", DUPLICATE)
        if "flag" in recipe.duplicates.kinds.values():
            rules.setdefault("edited_copy", EDITED_COPY)
    if recipe.semantic:
        repeat = Rule(when=f"semantic_place > {recipe.semantic.keep}", action="flag")
        rules.setdefault("semantic_repeat", repeat)
    if texts := recipe.similar_texts:
        repeated = " OR ".join(f"{field}_cluster_place > {texts.keep}" for field in texts.of)
        rules.setdefault("similar_text", Rule(when=repeated, action="flag"))
    return rules


def read_recipe(path: Path) -> CurateRecipe:
    """Load and check a recipe.

    Raises:
        UserError: the file cannot be read, a key is unknown or a value does not fit.
    """
    return load_recipe(path, CurateRecipe)


def read_finished(folder: Path) -> tuple[CurateRecipe, dict[str, Any]]:
    """The recipe and the whole manifest of a finished curation.

    Raises:
        UserError: the folder is not a finished curation, or its recipe is of another version of Winnow.
    """
    manifest = read_manifest(folder, finish_with="curate run RECIPE")
    return parse_recipe(manifest.get("recipe", {}), CurateRecipe, where=f"{folder}/{MANIFEST}"), manifest
