"""How numbers read: in the unit of their metric, and always beside their interval."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from dashboards.data.scores import Corrected, Score

_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # letters and marks that are drawn as nothing
DECISION_WORDS = {"keep": "kept", "drop": "dropped", "flag": "kept and flagged"}  # of curation


def as_label(name: str) -> str:
    """A name from data as plain words, for the places where Streamlit reads Markdown."""
    return " ".join(re.sub(r"[^\w.-]|_", " ", name).split())


def with_hidden_signs(text: str) -> str:
    """The text with ``[U+200B]`` in the place of signs that are not drawn or that turn the direction of others."""
    return "".join(f"[U+{ord(sign):04X}]" if _is_hidden(sign) else sign for sign in text)


def _is_hidden(sign: str) -> bool:
    category = unicodedata.category(sign)
    return (
        (category.startswith("C") and sign not in "\n\t")
        or category in ("Zl", "Zp")
        or unicodedata.name(sign, "").startswith("VARIATION SELECTOR")
        or sign in _BLANK
    )


def count_of(count: int, one: str, many: str = "") -> str:
    """``1 row``, ``1,200 rows``; ``many`` where it is not ``one`` with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def short_name(name: str, longest: int = 28) -> str:
    """A name cut in the middle: names of checkpoints differ at their ends. At most ``longest`` characters."""
    if len(name) <= longest:
        return name
    tail = 2 * (longest - 1) // 3
    return f"{name[: longest - 1 - tail]}…{name[-tail:]}"


def short_names(names: Iterable[str], longest: int = 28) -> dict[str, str]:
    """Each name with its short form; names whose short forms are the same stay whole."""
    short = {name: short_name(name, longest) for name in names}
    counts = Counter(short.values())
    return {name: name if counts[cut] > 1 else cut for name, cut in short.items()}


def amount(value: float, unit: str) -> str:
    """``97.1%`` for a share of 1, ``1423.5`` for points, ``6.43`` for anything else."""
    return _number(value, unit) + ("%" if unit == "%" else "")


def interval(low: float | None, high: float | None, unit: str) -> str:
    """``96.7–97.4%`` or ``6.31–6.55``; '' without both ends."""
    return "" if low is None or high is None else f"{_number(low, unit)}–{amount(high, unit)}"


def difference(value: float, unit: str) -> str:
    """``+60.2 points`` (also of percent) or ``-0.31``; with the ASCII minus that ``st.metric`` knows losses by."""
    return _number(value, unit, "+") + (" points" if unit else "")


def difference_interval(low: float, high: float, unit: str) -> str:
    """``+59.1 to +61.3``; the ends keep their sign because it is what matters."""
    return f"{_number(low, unit, '+')} to {_number(high, unit, '+')}"


def score_with_interval(score: Score) -> str:
    """``97.1% (96.7–97.4%)``."""
    between = interval(score.low, score.high, score.unit)
    return amount(score.value, score.unit) + (f" ({between})" if between else "")


def corrected_text(corrected: Corrected, unit: str) -> str:
    """``corrected 97.9% (97.5–98.2%), 9,671 rows``."""
    between = interval(corrected.low, corrected.high, unit)
    shown = amount(corrected.value, unit) + (f" ({between})" if between else "")
    return f"corrected {shown}, {corrected.n:,} rows"


def votes(references: Sequence[str]) -> list[tuple[str, int]]:
    """Distinct references with their votes, most votes first, then by first occurrence."""
    return Counter(references).most_common()


def _number(value: float, unit: str, sign: str = "") -> str:
    """Shares × 100 and points with one decimal, whole points without any, other numbers with two."""
    if unit == "%":
        return f"{100 * value:{sign}.1f}"
    return f"{value:{sign}.1f}".removesuffix(".0") if unit == "points" else f"{value:{sign}.2f}"
