"""The metric-strictness lens: answers that score as wrong but say nearly what a reference says."""

from __future__ import annotations

from typing import Literal, get_args

# From the least to the most that has to be forgiven.
Near = Literal["spelling", "plural", "containment"]
NEAR: tuple[Near, ...] = get_args(Near)
NEAR_HELP = {
    "spelling": "equal but for case, punctuation, articles and number words",
    "plural": "equal but for an s at the end of words",
    "containment": "one holds the other as whole words",
}
_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def near_sql(correct: str) -> str:
    """SQL of which of ``NEAR`` a wrong answer is, '' where it is none of them or not wrong.

    Args:
        correct: Boolean SQL, see ``Predictions.correct_sql``.
    """
    said = _plain("coalesce(extracted, raw, '')")
    references = f'list_transform("references", lambda r: {_plain("r")})'
    same = f"list_contains({references}, {said})"
    singular = f"list_contains(list_transform({references}, lambda r: {_singular('r')}), {_singular(said)})"
    holds = f"contains(' ' || {said} || ' ', ' ' || r || ' ') OR contains(' ' || r || ' ', ' ' || {said} || ' ')"
    contained = f"len(list_filter({references}, lambda r: r <> '' AND ({holds}))) > 0"
    return f"""CASE WHEN ({correct}) IS DISTINCT FROM false OR status IN ('refused', 'failed') OR {said} = '' THEN ''
        WHEN {same} THEN 'spelling' WHEN {singular} THEN 'plural' WHEN {contained} THEN 'containment' ELSE '' END"""


def near_rows_sql(correct: str) -> str:
    """Boolean SQL: is the row's answer near in one of the ways of a bound list? Binds the table's path, then the list.

    Each pair of answer and references is judged once: a million rows hold far fewer pairs.
    """
    pair = "hash(coalesce(extracted, raw, ''), \"references\", status)"
    return f"""(NOT correct AND {pair} IN (
        SELECT pair FROM (
            SELECT {pair} AS pair, any_value(extracted) AS extracted, any_value(raw) AS raw,
                   any_value("references") AS "references", any_value(status) AS status
            FROM read_parquet(?) WHERE NOT ({correct}) GROUP BY 1
        ) WHERE {near_sql("false")} IN (SELECT unnest(?))))"""


def _plain(text: str) -> str:
    """SQL: lower-case words without punctuation and articles, number words as digits."""
    words = f"trim(regexp_replace(lower({text}), '([^\\p{{L}}\\p{{N}}]|\\b(an?|the)\\b)+', ' ', 'g'))"
    digits = f"' ' || replace({words}, ' ', '  ') || ' '"  # each word has blanks of its own
    for number, word in enumerate(_NUMBERS):
        digits = f"replace({digits}, ' {word} ', ' {number} ')"
    any_number = f"regexp_matches({words}, '\\b({'|'.join(_NUMBERS)})\\b')"
    return f"CASE WHEN {any_number} THEN trim(replace({digits}, '  ', ' ')) ELSE {words} END"


def _singular(text: str) -> str:
    """SQL: plain words without any e and s at their end: "buses" and "bus" both become "bu"."""
    return f"regexp_replace({text}, '([^ es])[es]+( |$)', '\\1\\2', 'g')"
