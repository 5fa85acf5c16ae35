"""Rows asked several times: every rotation of a multiple choice, or several samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from evalsuite.tasks.options import rotated, rotated_images, rotated_letter, rotated_prompt
from evalsuite.tasks.rows import TaskRow, repeat_id
from evalsuite.tasks.spec import TaskSpec
from winnow.errors import UserError


def repeated(rows: Sequence[TaskRow], spec: TaskSpec) -> list[TaskRow]:
    """Every row as often as the task asks it, one after the other.

    Raises:
        UserError: the prompt of a multiple choice does not show its options with their letters.
    """
    if spec.repeat == "circular":
        return [asked for row in rows for asked in rotations(row, spec)]
    return [
        replace(row, sample_id=repeat_id(row.sample_id, number), repeat=number) if number else row
        for row in rows
        for number in range(spec.samples)
    ]


def rotations(row: TaskRow, spec: TaskSpec) -> list[TaskRow]:
    """The row with its options in every order that a rotation gives; a row without options is asked once."""
    return [row, *(_rotated(row, number, spec) for number in range(1, len(row.choices)))]


def _rotated(row: TaskRow, by: int, spec: TaskSpec) -> TaskRow:
    prompt = rotated_prompt(row.prompt, row.choices, by)
    if prompt is None:
        raise UserError(
            f"task {spec.name}: row {row.sample_id!r}: its prompt does not show the options with their letters, so "
            "they cannot be rotated; write {options} where the prompt shall show them"
        )
    return replace(
        row,
        sample_id=repeat_id(row.sample_id, by),
        repeat=by,
        prompt=prompt,
        question=rotated_prompt(row.question, row.choices, by) or row.question,
        images=rotated_images(row.images, row.prompt, row.choices, by),
        choices=rotated(row.choices, by),
        references=tuple(rotated_letter(letter, len(row.choices), by) for letter in row.references),
    )
