"""Decisions as the browser sends them: checked line by line against the rows that they are about, then written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dashboards.data.catalog import Catalog, Folder
from dashboards.data.engine import cached
from dashboards.data.review_log import known_of
from dashboards.data.reviews import append_all, is_same_decision
from dashboards.review.entries import rows_of_ids
from winnow.corrections import Action, Correction, same_person

_MOST_LINES = 200
_LONGEST_NEW = 20_000  # characters of one new text
_MOST_TEXTS = 100  # references of one row
_LONGEST_LINE = 200_000  # characters of one line in the log
RowKind = Literal["evals", "curated"]
# Actions that mean something for one kind of row only.
_KIND_OF: Mapping[str, RowKind] = {"drop": "curated", "exclude_from_eval": "evals"}
_ONLY = {"curated": "training rows", "evals": "rows of an evaluation"}


class Line(BaseModel):
    """A decision as the browser sends it; who and when are the server's to say.

    Attributes:
        correction_id: made in the browser, so that a line that is sent again is written once.
        run: name of the evaluation or curated set in which the row was judged.
        kind: which of the two; null where the name says enough.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    correction_id: str = Field(pattern=r"^[0-9a-f]{32}$")
    sample_id: str = Field(min_length=1, max_length=4000)
    content_hash: str = Field(max_length=200)
    run: str = Field(max_length=400)
    kind: RowKind | None = None
    action: Action
    field: Literal["decision", "answer", "answers", "question", "tags", "note"] = "decision"
    old: Any = None
    new: str | list[str] | None = None
    tags: tuple[Annotated[str, Field(max_length=100)], ...] = Field(default=(), max_length=20)
    note: str = Field(default="", max_length=4000)
    undoes: str | None = Field(default=None, max_length=64)
    settles: tuple[Annotated[str, Field(max_length=64)], ...] = Field(default=(), max_length=100)


class Sent(BaseModel):
    """A request with decisions, in the order in which their keys were pressed.

    Attributes:
        reviewer: the name that stood on the screen; a trusted header overrules it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reviewer: str = Field(max_length=200)
    lines: tuple[dict[str, Any], ...] = Field(min_length=1, max_length=_MOST_LINES)


@dataclass(frozen=True)
class Written:
    """What became of the lines of a request.

    Attributes:
        written: ids of those that are on disk, now or before.
        refused: id ('' where it has none) → why it will never be written.
    """

    written: tuple[str, ...]
    refused: tuple[tuple[str, str], ...]


def write(root: Path, catalog: Catalog, sent: Sent, reviewer: str) -> Written:
    """Write the lines that are in order, in their order; the others are refused one by one.

    Raises:
        UserError: the log cannot be written to, or not be read. Nothing was written then, and the request can be sent
            again.
    """
    folder = root / "corrections"
    known = known_of(folder).by_id
    new: dict[str, Correction] = {}
    refused: list[tuple[str, str]] = []
    written: dict[str, None] = {}
    for given in sent.lines:
        try:
            line = Line.model_validate(given)
            correction = Correction(**line.model_dump(exclude={"kind"}), reviewer=reviewer, at=datetime.now(UTC))
        except ValidationError as error:
            refused.append((str(given.get("correction_id", ""))[:64], sentence_of(error)))
            continue
        earlier = new.get(line.correction_id) or known.get(line.correction_id)
        if earlier is None:
            problem = _problem(catalog, line, correction, [known, new])
        else:
            problem = "" if is_same_decision(earlier, correction) else "Its id was already used for another decision"
        if problem:
            refused.append((line.correction_id, problem))
            continue
        written[line.correction_id] = None
        if earlier is None:
            new[line.correction_id] = correction
    append_all(folder, list(new.values()))
    return Written(tuple(written), tuple(refused))


def sentence_of(error: ValidationError) -> str:
    """The first problem of what was sent: where it is, and what is wrong."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    return f"{place}: {first['msg']}" if place else first["msg"]


def _problem(catalog: Catalog, line: Line, correction: Correction, logs: Sequence[Mapping[str, Correction]]) -> str:
    """Why a line is not written, '' if it is in order."""
    texts = [line.new] if isinstance(line.new, str) else line.new or []
    if len(texts) > _MOST_TEXTS or any(len(text) > _LONGEST_NEW for text in texts):
        return f"Write at most {_MOST_TEXTS} texts of {_LONGEST_NEW:,} characters each"
    if line.action in ("relabel", "edit_question") and not any(text.strip() for text in texts):
        return "The new text is empty; write it, or give another verdict"
    if len(correction.model_dump_json()) > _LONGEST_LINE:
        return f"A decision takes at most {_LONGEST_LINE:,} characters; shorten its texts"
    if line.action == "undo":
        return _problem_of_undo(line, correction.reviewer, logs)
    if unknown := next((name for name in line.settles if not any(name in log for log in logs)), None):
        return f"It settles {unknown}, which is no decision"
    return _problem_of_row(catalog, line)


def _problem_of_undo(line: Line, reviewer: str, logs: Sequence[Mapping[str, Correction]]) -> str:
    target = next((log[name] for log in logs if (name := line.undoes or "") in log), None)
    if target is None or target.action == "undo" or target.sample_id != line.sample_id:
        return "There is no such decision on this row to take back"
    if same_person(target.reviewer) != same_person(reviewer):
        return f"Only {target.reviewer} can take this decision back; give your own verdict instead"
    return ""


def _problem_of_row(catalog: Catalog, line: Line) -> str:
    kinds = (line.kind,) if line.kind else get_args(RowKind)
    folders = [folder for kind in kinds if (folder := catalog.find(kind, line.run))]
    holding = [folder for folder in folders if holds(folder, line.sample_id)]
    if not holding:
        where = (
            f"{line.run} has no row {line.sample_id}"
            if folders
            else f"There is no evaluation or curated set {line.run}"
        )
        return f"{where}; it was removed or made anew, so open the list again"
    wanted = _KIND_OF.get(line.action)
    if wanted and all(folder.kind != wanted for folder in holding):
        return f"“{line.action.replace('_', ' ')}” is for {_ONLY[wanted]}, and this row is none"
    return ""


@cached(4096)
def holds(folder: Folder, sample_id: str) -> bool:
    """Whether an evaluation or a curated set has a row with this id; raises UserError for a broken table."""
    return len(rows_of_ids(folder, [sample_id])) > 0
