"""A row as a reviewer judges it: everything that the review panel shows, as plain values, and who looks at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from dashboards.components.format import votes
from dashboards.data.catalog import Folder
from dashboards.data.reviews import Decision, new_text
from dashboards.images import thumb_url, tiles_url
from winnow.corrections import same_person

LONGEST_TEXT = 50_000  # characters of one text of a row
_MOST_PICTURES = 64


@dataclass(frozen=True)
class ReviewRow:
    """One row of a queue, as JSON for the panel; all texts are shown as text.

    Attributes:
        place: its place in the queue from 0; None for a row that is not in it.
        kind, folder, row: where it lies: its number in ``predictions.parquet``, or its ``position`` in a curated set.
        pictures: ``src``, ``key`` and ``tiles`` (of ``dashboards.images.tiles_url``) of each, in order.
        question: what was asked; ``turns`` hold a conversation of several (``role``, ``text``).
        references: (text, votes), most votes first.
        system: the system text.
        prompt: as the model was given it.
        options: of a multiple choice: ``text``, whether it is the ``reference``, whether the answer chose it.
        answer: what the model said and how it was read; None for a training row.
        nearest: the reference that the answer is most like.
        diff: (mark, words) of the answer against ``nearest``; marks are ``=``, ``-`` and ``+``. ``diff_cut``: the texts
            are so long that only their beginnings were compared.
        why: sentences (``text``) on what was compared and found, each with the ``scores`` that it explains.
        others: how many other runs may have answered it; what they said is asked for when somebody looks.
        facts: (name, text) of slices, curation's decision, loss.
        boxes: rectangles in shares of a picture's width and height.
        rejected: the answer that a preference row rejects.
        tools: the definitions of the tools that may be called.
        decisions: lines about the row that its reviewer may see, the newest first.
    """

    place: int | None
    kind: Literal["evals", "curated"]
    folder: str
    row: int
    sample_id: str
    task: str
    content_hash: str
    pictures: list[dict[str, Any]]
    question: str
    references: list[tuple[str, int]]
    system: str = ""
    turns: list[dict[str, str]] | None = None
    prompt: str = ""
    options: list[dict[str, Any]] | None = None
    answer: dict[str, Any] | None = None
    nearest: str = ""
    diff: list[tuple[str, str]] | None = None
    diff_cut: bool = False
    why: list[dict[str, str]] | None = None
    others: int = 0
    facts: list[tuple[str, str]] | None = None
    boxes: list[dict[str, Any]] | None = None
    rejected: str = ""
    tools: str = ""
    decisions: list[dict[str, Any]] | None = None

    def to_json(self) -> dict[str, Any]:
        """The row for the browser."""
        return asdict(self)


@dataclass(frozen=True)
class Reader:
    """Who looks at rows.

    Attributes:
        decisions: what was decided and they may see, the newest first.
        base: name of the run that others are compared with, '' for none.
    """

    name: str
    decisions: Sequence[Decision]
    base: str = ""

    def decisions_of(self, ids: Sequence[str]) -> Mapping[str, list[dict[str, Any]]]:
        """The lines about the rows with these ids."""
        of_row: dict[str, list[Decision]] = {sample_id: [] for sample_id in ids}
        for decision in self.decisions:
            if decision.line.sample_id in of_row:
                of_row[decision.line.sample_id].append(decision)
        return {sample_id: self._shown(lines) for sample_id, lines in of_row.items()}

    def _shown(self, lines: Sequence[Decision]) -> list[dict[str, Any]]:
        return [
            {
                "id": decision.line.correction_id,
                "content_hash": decision.line.content_hash,
                "action": decision.line.action,
                "new": new_text(decision.line),
                "tags": list(decision.line.tags),
                "note": decision.line.note,
                "reviewer": decision.line.reviewer,
                "mine": same_person(decision.line.reviewer) == same_person(self.name),
                "state": decision.state,
                "at": decision.line.at.isoformat(timespec="seconds"),
            }
            for decision in lines
        ]


def pictures_of(folder: Folder, sample_id: str, keys: Sequence[str | None]) -> list[dict[str, Any]]:
    """``src``, ``key`` and ``tiles`` of every picture; of a row without any, a placeholder."""
    return [
        {
            "src": thumb_url(folder, sample_id, keys, "full", number),
            "key": keys[number] if keys else None,
            "tiles": tiles_url(folder, sample_id, keys, number),
        }
        for number in range(min(max(len(keys), 1), _MOST_PICTURES))
    ]


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """A text as a page shows it: of a very long one the beginning, and how much is left out."""
    return text if len(text) <= longest else f"{text[:longest]}\n… ({len(text) - longest:,} more characters)"


def counted(references: Sequence[str]) -> list[tuple[str, int]]:
    """Distinct references with their votes, each as a page shows it."""
    return [(shortened(text), count) for text, count in votes(references)]
