"""References that fit what is read from replies: letters for multiple choice, yes and no, by the task's own map."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from curate.readers.tables.options import Numbering, Options, as_number, named_option, numbering
from evalsuite.metrics import METRICS
from evalsuite.reading.choice import LETTERS
from evalsuite.tasks.rows import TaskRow
from evalsuite.tasks.spec import TaskSpec
from winnow.errors import UserError, did_you_mean

_YES = ("yes", "y", "true", "1", "1.0", "是", "是的", "对", "有")
_NO = ("no", "n", "false", "0", "0.0", "否", "不是", "不对", "错", "没有")
_YES_NO = dict.fromkeys(_YES, "yes") | dict.fromkeys(_NO, "no")
_MOST_LOST = 0.05  # share of rows without a reference that fits, from which on the task itself must be wrong
_SHOWN = 6
_NO_OPTIONS = "no options"

Fit = Callable[[TaskRow, str], Sequence[str]]  # a reference → those that are meant; ValueError says why there are none


def fit_references(rows: Sequence[TaskRow], spec: TaskSpec) -> tuple[list[TaskRow], dict[str, str], list[str]]:
    """The rows with references that a reply can equal.

    A reference that is the number or the text of an option becomes its letter; ``1``, ``true`` and ``是`` become
    ``yes`` where replies are read for yes and no, or a metric wants them. ``answer_map`` comes first.

    Returns:
        The rows; the ids of rows that have no such reference, with the reason; and notes on what was changed.

    Raises:
        UserError: numbers may count from 0 or from 1; no row has the options that are needed; or more than one in
            twenty rows have no reference that fits.
    """
    changed: Counter[tuple[str, str]] = Counter()
    rows = _mapped(rows, spec, changed)
    fit = _fit_of(rows, spec)
    kept: list[TaskRow] = []
    lost: dict[str, str] = {}
    for row in rows:
        try:
            fitted = row.references if fit is None else tuple(new for old in row.references for new in fit(row, old))
        except ValueError as error:
            lost[row.sample_id] = str(error)
            continue
        changed.update(pair for pair in zip(row.references, fitted, strict=False) if pair[0] != pair[1])
        kept.append(replace(row, references=fitted))
    _refuse_most(lost, len(rows), spec)
    return kept, lost, [*_notes(changed), *_outside(kept, spec)]


def _refuse_most(lost: Mapping[str, str], rows: int, spec: TaskSpec) -> None:
    """A task that loses this many rows is wrong, not its rows."""
    if lost and len(lost) == rows and _NO_OPTIONS in lost.values():
        raise UserError(f"task {spec.name}: no row has options; `options:` in the task names their key of `meta`")
    unfit = [name for name, reason in lost.items() if reason != _NO_OPTIONS]
    if len(unfit) > _MOST_LOST * rows:
        raise UserError(
            f"task {spec.name}: row {unfit[0]!r}: {lost[unfit[0]]}, and so {len(unfit):,} of {rows:,} rows; "
            "`answer_map:` in the task says what its references mean"
        )


def _mapped(rows: Sequence[TaskRow], spec: TaskSpec, changed: Counter[tuple[str, str]]) -> list[TaskRow]:
    if not spec.answer_map:
        return list(rows)
    known = {reference.strip() for row in rows for reference in row.references}
    if lost := [key for key in spec.answer_map if key not in known]:
        raise UserError(f"task {spec.name}: answer_map: no reference is {lost[0]!r}; {did_you_mean(lost[0], known)}")
    mapped = []
    for row in rows:
        new = tuple(spec.answer_map.get(old.strip(), old) for old in row.references)
        changed.update(pair for pair in zip(row.references, new, strict=True) if pair[0] != pair[1])
        mapped.append(replace(row, references=new))
    return mapped


def _fit_of(rows: Sequence[TaskRow], spec: TaskSpec) -> Fit | None:
    """How a row's reference is fitted; None where all fit."""
    metrics = [METRICS[settings.metric or ""] for settings in spec.metrics.values()]
    wanted = {metric.references for metric in metrics}
    if spec.extraction.kind == "yes_no" or "yes_no" in wanted:
        return lambda _, reference: (_yes_no(reference),)
    if spec.extraction.kind != "letter" and "letters" not in wanted:
        return None
    numbers = _numbers(rows, spec)
    needed = any("choices" in metric.needs for metric in metrics)

    def fit(row: TaskRow, reference: str) -> Sequence[str]:
        if row.choices:
            return _letters(row.choices, reference, numbers)
        if needed:
            raise ValueError(_NO_OPTIONS)
        return (reference,)  # an open question

    return fit


def _yes_no(reference: str) -> str:
    plain = reference.strip().casefold().rstrip(" .!。！")
    if reference.strip().casefold() in ("yes", "no"):
        return reference
    if plain not in _YES_NO:
        raise ValueError(f"the reference {reference[:60]!r} is neither yes nor no")
    return _YES_NO[plain]


def _numbers(rows: Sequence[TaskRow], spec: TaskSpec) -> Numbering:
    """What numbers among the references of a multiple choice mean, by all rows."""
    if spec.source.answer_base is not None:
        return Numbering(spec.source.answer_base, proven=True)
    pairs = [
        (Options(row.choices), reference)
        for row in rows
        if row.choices
        for reference in row.references
        if as_number(reference) is not None
    ]
    found = numbering(pairs) if pairs else Numbering()
    if pairs and not found.proven:
        raise UserError(
            f"task {spec.name}: its references are numbers ({', '.join(sorted({text for _, text in pairs})[:_SHOWN])}) "
            "that may count the options from 0 or from 1; write `source: {answer_base: 0}` or 1 in the task"
        )
    return found


def _letters(choices: Sequence[str], reference: str, numbers: Numbering) -> Sequence[str]:
    if reference in LETTERS[: len(choices)]:
        return (reference,)
    options = Options(tuple(choices))
    named = named_option(options, reference, numbers)
    if named in options.letters:
        return (named,)
    letters = [letter for letter, text in zip(options.letters, choices, strict=True) if _plain(text) == _plain(named)]
    if not letters:
        raise ValueError(f"the reference {reference[:60]!r} does not name one of the options")
    return letters


def _plain(text: str) -> str:
    return " ".join(text.casefold().split()).rstrip(".")


def _notes(changed: Counter[tuple[str, str]]) -> list[str]:
    if not changed:
        return []
    listed = ", ".join(f"{old!r} as {new!r}" for (old, new), _ in changed.most_common(_SHOWN))
    more = f" and {len(changed) - _SHOWN:,} more" if len(changed) > _SHOWN else ""
    return [f"{changed.total():,} references are read as what they mean: {listed}{more}"]


def _outside(rows: Sequence[TaskRow], spec: TaskSpec) -> list[str]:
    """Rows of a closed set of answers that no reply can get right."""
    closed = {choice.casefold() for choice in spec.extraction.choices}
    if not closed:
        return []
    lost = [row for row in rows if not closed & {reference.strip().casefold() for reference in row.references}]
    if not lost:
        return []
    example = f"{lost[0].references[0]!r} of {lost[0].sample_id!r}"
    return [f"{len(lost):,} rows have no reference among the `choices` of the extraction, such as {example}"]
