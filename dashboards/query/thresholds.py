"""The numbers that a set's rules compare with, and the rules with another one in place."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from curate.rules.decide import CheckedRule

_COMPARISON = re.compile(r"\(?(?P<left>.+?) (?P<sign><=|>=|<|>) (?P<number>-?\d+(?:\.\d+)?)\)?")
_NUMBER = re.compile(r"(?:<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)(?![\w.])")


@dataclass(frozen=True)
class Threshold:
    """A number that a rule compares with.

    Attributes:
        rule, action, when: the rule, and its condition as the recipe has it.
        place: which of the numbers in ``when``, from 0.
        left, sign, number: what is compared (checked SQL), how, and with what.
    """

    rule: str
    action: str
    when: str
    place: int
    left: str
    sign: str
    number: float

    @property
    def label(self) -> str:
        """``blurry: sharpness < 40``."""
        return f"{self.rule}: {self.left} {self.sign} {self.number:g}"

    def moved(self, number: float) -> str:
        """The condition with another number in this place."""
        found = list(_NUMBER.finditer(self.when))[self.place]
        return f"{self.when[: found.start(1)]}{number:.6g}{self.when[found.end(1) :]}"


def movable(rules: Sequence[CheckedRule]) -> list[Threshold]:
    """Every number that can be moved, in recipe order. Conditions that need the written SQL to guess are left out."""
    found = []
    for rule in rules:
        compared = [match for text in rule.expression.thresholds if (match := _COMPARISON.fullmatch(text))]
        written = [float(match.group(1)) for match in _NUMBER.finditer(rule.expression.text)]
        if [float(match["number"]) for match in compared] != written:
            continue
        found += [
            Threshold(rule.name, rule.action, rule.expression.text, place, match["left"], match["sign"], number)
            for place, (match, number) in enumerate(zip(compared, written, strict=True))
        ]
    return found
