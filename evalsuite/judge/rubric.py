"""A rubric: what a judge is asked about a reply, and how its verdict is read. YAML, strict, no code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from winnow.errors import UserError, did_you_mean
from winnow.recipe import StrictModel, load_recipe

_SHIPPED = Path(__file__).parent / "rubrics"
_PLACE = re.compile(r"\{(\w+)\}")
REPLIES = ("prediction", "first", "second")  # places of text that a model wrote
ROW_PLACES = ("question", "references", "options", *REPLIES)


class Reader(StrictModel):
    """How a verdict is read. What does not have exactly this form is no verdict.

    Attributes:
        kind: ``number``: a number from ``low`` to ``high``; ``word``: one of ``words``; ``two_numbers``: one for the
            first reply and one for the second, apart by blanks or a comma; ``answer``: the answer in the reply, which
            the task's first metric then scores.
        line: which line of the judge's reply is the verdict; with ``only`` there must be no other.
        after: text that the line begins with, e.g. ``Score:``.
        low, high: ends of the scale.
        words: verdict → score from 0 to 1. Of two replies, the score of the first; case does not matter.
    """

    kind: Literal["number", "word", "two_numbers", "answer"]
    line: Literal["only", "first", "last"] = "only"
    after: str = ""
    low: float = 0.0
    high: float = 1.0
    words: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)

    @field_validator("words")
    @classmethod
    def _without_case(cls, value: dict[str, float]) -> dict[str, float]:
        return {word.casefold(): score for word, score in value.items()}

    @model_validator(mode="after")
    def _fits(self) -> Reader:
        if (self.kind == "word") != bool(self.words):
            raise ValueError("words belong to kind: word, and only there")
        if self.low >= self.high:
            raise ValueError("low must be below high")
        return self


class Rubric(StrictModel):
    """A rubric.

    Attributes:
        name: as reports name it.
        description: one line: what it scores.
        source: whose prompt it is, or that it is Winnow's own.
        system: a system message, if any.
        prompt: what the judge is asked. Places: ``{question}``, ``{prediction}`` (the whole reply, without thinking),
            ``{references}``, ``{options}``, and keys of the task's ``facts``. A rubric that compares two replies has
            ``{first}`` and ``{second}`` instead of ``{prediction}``; the judge is then asked in both orders.
        one_line: values go into one line: line breaks become blanks and ``|`` becomes ``/``. Without it, a reply
            stands alone between two lines that mark where it begins and ends.
        replace: text → what stands for it in references, e.g. ``{"<AND>": " <AND> "}``.
        longest: characters of a value after which it is cut; reports count the rows.
        max_new_tokens: limit of the judge's reply.
        reader: how its verdict is read.
    """

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    description: str = ""
    source: str = ""
    system: str | None = None
    prompt: str
    one_line: bool = False
    replace: dict[Annotated[str, Field(min_length=1)], str] = Field(default_factory=dict)
    longest: Annotated[int, Field(ge=100)] = 8000
    max_new_tokens: Annotated[int, Field(ge=1)] = 16
    reader: Reader

    @model_validator(mode="after")
    def _asks_about_replies(self) -> Rubric:
        asked = self.places & set(REPLIES)
        if asked not in ({"prediction"}, {"first", "second"}):
            raise ValueError("the prompt needs either {prediction}, or {first} and {second} to compare two replies")
        two = self.reader.kind == "two_numbers"
        if (two and not self.compares) or (self.compares and self.reader.kind in ("number", "answer")):
            raise ValueError(
                "{first} and {second} go with a reader of kind two_numbers or word, two_numbers only with them"
            )
        if self.compares and self.reader.kind == "word" and 0.0 not in self.reader.words.values():
            raise ValueError("words of a comparison need one with the score 0: the second reply is better")
        if not self.one_line and (open_place := next((place for place in asked if not self.marks_of(place)), None)):
            raise ValueError(
                f"{{{open_place}}} must stand on a line of its own, between two lines that mark its beginning and end "
                "(<reply> and </reply>), or set one_line: true"
            )
        return self

    @property
    def places(self) -> set[str]:
        """Names that stand in braces in the prompt."""
        return set(_PLACE.findall(self.prompt))

    @property
    def compares(self) -> bool:
        """Whether it compares two replies."""
        return "first" in self.places

    def marks_of(self, place: str) -> tuple[str, str] | None:
        """The lines before and after a place that has a line of its own; None if it has none, or they are empty."""
        lines = [line.strip() for line in self.prompt.splitlines()]
        for number, line in enumerate(lines):
            if line == f"{{{place}}}" and 0 < number < len(lines) - 1:
                before, after = lines[number - 1], lines[number + 1]
                if before and after and not _PLACE.search(before + after):
                    return before, after
        return None


def shipped_rubrics() -> dict[str, Path]:
    """Names and files of the rubrics that come with the package."""
    return {path.stem: path for path in sorted(_SHIPPED.glob("*.yaml"))}


def load_rubric(name_or_path: str) -> Rubric:
    """A shipped rubric by name, or a rubric file by path.

    Raises:
        UserError: neither; or the file is no valid rubric.
    """
    shipped = shipped_rubrics()
    if name_or_path in shipped:
        return load_recipe(shipped[name_or_path], Rubric)
    if not name_or_path.endswith((".yaml", ".yml")):
        hint = did_you_mean(name_or_path, shipped)
        raise UserError(f"no rubric {name_or_path!r}; {hint} (a rubric file of your own is given by its path)")
    return load_recipe(Path(name_or_path), Rubric)
