"""Sample, Turn: the row that every stage speaks of.

Readers and sources yield ``Sample | BadRow``, so that a bad row costs that row. ``winnow.records`` has its JSON form,
``curate.jsonl`` files of one object a line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curate.turns import IMAGE_MARKER, OWN_SPELLING, Role, SpelledTurns


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; ``value`` is kept to the letter."""

    role: Role
    value: str


@dataclass(frozen=True, slots=True)
class Form:
    """How a record was spelled, so that ``to_original`` changes nothing.

    Attributes:
        spelled: the names and shape of its turns.
        image_key: its name for the images.
        image_is_list: a list of paths, even of one.
        keys: top-level keys in order; empty for a sample that was no JSON object.
        verbatim: values that the sample's fields cannot restore (id with its type, null, ``meta``).
        derived_id: the record had no id; the sample's is a digest of its content.
    """

    spelled: SpelledTurns = OWN_SPELLING
    image_key: str = "image"
    image_is_list: bool = False
    keys: tuple[str, ...] = ()
    verbatim: Mapping[str, Any] = field(default_factory=dict)
    derived_id: bool = False


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a dataset.

    Attributes:
        id: unique in a set; ``source/split/own id`` where the source has ids.
        image: paths relative to the dataset's image root, or URLs; empty for text-only rows.
        conversations: at least one turn.
        answers: all references with their repetition (ten votes stay ten).
        meta: whatever the schema has no field for, unaltered.
        form: the original spelling.
        embedded: bytes of the images that the dataset itself carries, by path; ``curate.readers.images``
            writes them to files.
    """

    id: str
    image: tuple[str, ...]
    conversations: tuple[Turn, ...]
    answers: tuple[str, ...] = ()
    source: str = ""
    split: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    form: Form = Form()
    embedded: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """The first user turn without ``<image>`` markers, stripped; '' if there is none."""
        for turn in self.conversations:
            if turn.role == "user":
                return turn.value.replace(IMAGE_MARKER, "").strip()
        return ""

    @property
    def answer(self) -> str:
        """The first assistant turn, '' if there is none."""
        return next((turn.value for turn in self.conversations if turn.role == "assistant"), "")


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read: it costs itself, not the run.

    Readers yield it between samples; whoever consumes them writes it to the ledger, or raises
    ``UserError(f"{bad.where}: {bad.reason}")`` where a bad row must not pass.

    Attributes:
        where: file and line (or row), for people.
        reason: one clause that says what is wrong.
        position: 0-based row in its source.
        source, split: of the rows before it; '' for a row that comes first.
    """

    where: str
    reason: str
    position: int
    source: str = ""
    split: str = ""


def majority(answers: Sequence[str]) -> str:
    """The most frequent answer, ties by first occurrence; '' for none."""
    return Counter(answers).most_common(1)[0][0] if answers else ""


def full_id(own: str, source: str, split: str) -> str:
    """``source/split/own``, unless ``own`` already begins so."""
    prefix = "/".join(part for part in (source, split) if part)
    return own if not prefix or own.startswith(f"{prefix}/") else f"{prefix}/{own}"
