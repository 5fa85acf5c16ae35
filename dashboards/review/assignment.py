"""A queue split among reviewers: who judges which rows, some of them twice, so that agreement can be measured.

An assignment is a small file; the share of each person follows from it and is never stored.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from dashboards.data.engine import cached
from winnow.corrections import same_person
from winnow.errors import UserError
from winnow.files import read_json, write_json

OVERLAP = 0.1  # share of the rows that two people judge
_FOLDER = "assignments"


class Assignment(BaseModel):
    """Who judges which rows of a queue.

    Attributes:
        assignment_id: name of its file.
        title: what the queue was called when it was split.
        queue: the queue as a URL parameter, with the moment at which it was read.
        names: the reviewers, at least one; no two are the same person.
        overlap: share of the rows that two people judge, 0 to 1.
        total: rows of the queue.
        digest: ``content_digest`` of the queue; with another one the shares would be of other rows.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    assignment_id: str = Field(pattern=r"^[0-9a-f]{12}$")
    title: str
    queue: str
    names: tuple[str, ...] = Field(min_length=1)
    overlap: float = Field(ge=0, le=1)
    seed: int = Field(ge=0)
    total: int = Field(ge=0)
    digest: str
    made_by: str
    made_at: AwareDatetime

    def share(self, name: str) -> NDArray[np.int64]:
        """Places in the queue that a person judges, ascending; empty for somebody who is not named."""
        found = split(self.total, len(self.names), self.overlap, self.seed)
        people = sorted(same_person(known) for known in self.names)
        person = same_person(name)
        return found.places[people.index(person)] if person in people else np.empty(0, dtype=np.int64)

    def shared(self) -> NDArray[np.int64]:
        """Places in the queue that two people judge, ascending."""
        return split(self.total, len(self.names), self.overlap, self.seed).shared

    def holds(self, name: str) -> bool:
        """Whether a person is one of the reviewers."""
        return same_person(name) in {same_person(known) for known in self.names}


def new_assignment(
    queue: str, title: str, total: int, digest: str, names: Sequence[str], overlap: float, made_by: str
) -> Assignment:
    """An assignment of ``total`` rows; names of one person are taken once.

    Raises:
        UserError: nobody is named, the queue is empty, or the overlap is no share.
    """
    written = (" ".join(name.split()) for name in names)
    people = {same_person(name): name for name in written if name}
    if not people:
        raise UserError("name at least one reviewer")
    if not total:
        raise UserError("the queue is empty: there is nothing to split")
    if not 0 <= overlap <= 1:
        raise UserError(f"the overlap is a share from 0 to 1, not {overlap:g}")
    return Assignment(
        assignment_id=secrets.token_hex(6), title=title, queue=queue, names=tuple(people.values()),
        overlap=overlap if len(people) > 1 else 0.0, seed=secrets.randbelow(1 << 32), total=total, digest=digest,
        made_by=made_by, made_at=datetime.now(UTC),
    )  # fmt: skip


def save(root: Path, assignment: Assignment) -> Path:
    """Write an assignment below the data folder and return its file.

    Raises:
        UserError: the folder cannot be written to.
    """
    path = root / _FOLDER / f"{assignment.assignment_id}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, assignment.model_dump(mode="json"))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        raise UserError(f"{path}: the assignment could not be written ({reason}); nothing was split") from error
    return path


def read_assignments(root: Path) -> tuple[list[Assignment], list[str]]:
    """All assignments of a data folder, the newest first, and a sentence for each file that is none."""
    found, problems = [], []
    for path in sorted((root / _FOLDER).glob("*.json")):
        try:
            found.append(_read(path, path.stat().st_mtime_ns))
        except OSError as error:  # removed just now, or a link into nothing
            problems.append(f"{path}: cannot be read ({error.strerror}); remove it or split the queue anew")
        except UserError as error:
            problems.append(str(error))
    return sorted(found, key=lambda one: (one.made_at, one.assignment_id), reverse=True), problems


@cached(256)
def _read(path: Path, changed: int) -> Assignment:
    """Read once per ``changed``, which is only part of the cache key."""
    try:
        return Assignment.model_validate(read_json(path))
    except (OSError, ValueError) as error:  # pydantic's error is a ValueError
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise UserError(f"{path}: is not an assignment ({reason}); remove it or split the queue anew") from error


@dataclass(frozen=True)
class Split:
    """Who gets which places of a queue.

    Attributes:
        places: of each person, ascending.
        shared: those that two people get, ascending.
    """

    places: tuple[NDArray[np.int64], ...]
    shared: NDArray[np.int64]


@cached(8)
def split(total: int, people: int, overlap: float, seed: int) -> Split:
    """Give every one of ``total`` places to one person, and a share ``overlap`` of them, drawn at random, to two.

    Shares differ by at most one place. Who meets whom is drawn at random.

    Args:
        people: at least 1; a single one shares nothing.
    """
    chance = np.random.default_rng(seed)
    order = chance.permutation(total)
    twice = round(overlap * total) if people > 1 else 0
    turns = _turns(total + twice, people, chance)
    what = np.concatenate([np.repeat(order[:twice], 2), order[twice:]])
    places = tuple(np.sort(what[turns == person]) for person in range(people))
    return Split(places, np.sort(order[:twice]))


def _turns(count: int, people: int, chance: np.random.Generator) -> NDArray[np.int64]:
    """(count,) whose turn it is: in each round everyone once, in random order, and nobody twice in a row."""
    rounds = -(-count // people)
    turns = chance.permuted(np.tile(np.arange(people), (rounds, 1)), axis=1)
    if people > 2:
        again = 1 + np.flatnonzero(turns[1:, 0] == turns[:-1, -1])
        turns[again, :2] = turns[again, 1::-1]
    return turns.ravel()[:count]
