"""Training rows for the review panel: the conversation, all answers, and what curation and training made of the row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dashboards.data.catalog import Catalog, Folder
from dashboards.data.curated import RowDecision, decisions_at, json_object
from dashboards.data.suspects import suspicions
from dashboards.data.training import RankedLoss, losses_of
from dashboards.review.boxes import boxes_in_tokens, boxes_of_row
from dashboards.review.picture_size import size_of
from dashboards.review.row import Reader, ReviewRow, counted, pictures_of, shortened
from winnow.errors import UserError

_MOST_RUNS = 3  # that are asked for the loss of a row
_MOST_TURNS = 100
_MOST_FACTS, _LONGEST_FACT = 12, 300
# What the panel shows elsewhere, or what only exports need.
_SHOWN_ELSEWHERE = frozenset(
    {"rejected", "rejected_messages", "rejected_images", "tools", "options", "objects", "bbox", "bboxes", "boxes",
     "turn_fields", "videos", "audios", "id"}
)  # fmt: skip
_ROLES = {"human": "user", "gpt": "assistant"}

Losses = Mapping[str, tuple[str, RankedLoss]]


def training_rows(
    catalog: Catalog, folder: Folder, rows: Sequence[int], reader: Reader, around: Sequence[int] = ()
) -> dict[int, ReviewRow]:
    """``position`` of a row in ``samples.parquet`` → the row; positions without a row are left out.

    Args:
        around: rows that will be asked for soon, ``rows`` among them: they are read with these.
    """
    wanted = set(rows)
    decisions = [found for found in decisions_at(folder, tuple(around or rows)) if found.position in wanted]
    ids = tuple(decision.sample_id for decision in decisions)
    losses, decided = _losses(catalog, ids), reader.decisions_of(ids)
    suspected = suspicions(folder, [decision.position for decision in decisions])
    return {row.position: _row(row, losses, suspected, decided) for row in decisions}


def _losses(catalog: Catalog, ids: tuple[str, ...]) -> Losses:
    """Id → the newest training run that trained on the row, and its loss there."""
    found: dict[str, tuple[str, RankedLoss]] = {}
    for run in catalog.finished("runs")[:_MOST_RUNS]:
        try:
            found |= {key: (run.name, loss) for key, loss in losses_of(run, ids).items() if key not in found}
        except UserError:
            continue  # the page of training names a run that cannot be read; a row is still worth showing
    return found


def _row(
    row: RowDecision,
    losses: Losses,
    suspected: Mapping[int, tuple[float, str]],
    decided: Mapping[str, list[dict[str, Any]]],
) -> ReviewRow:
    record = json_object(row.record)
    meta = record["meta"] if isinstance(record.get("meta"), dict) else {}
    turns = _turns(record.get("conversations"))
    system = "\n".join(turn["text"] for turn in turns if turn["role"] == "system")
    spoken = [turn for turn in turns if turn["role"] != "system"]
    is_plain = [turn["role"] for turn in spoken] in ([], ["user"], ["user", "assistant"])
    references = row.answers or ((row.answer,) if row.answer else ())
    return ReviewRow(
        place=None,
        kind="curated",
        folder=row.folder.name,
        row=row.position,
        sample_id=row.sample_id,
        task="",
        content_hash=row.content_hash,
        pictures=pictures_of(row.folder, row.sample_id, row.image_keys),
        question=row.question,
        references=counted(references),
        system=system,
        turns=None if is_plain else spoken,
        options=_options(meta.get("options"), references),
        facts=[
            *_curation(row),
            *_suspicion(suspected.get(row.position)),
            *_loss(losses.get(row.sample_id)),
            *_about(row, meta),
        ],
        boxes=[asdict(box) for box in _boxes(row, meta, spoken)],
        rejected=_rejected(meta),
        tools=shortened(_text(meta.get("tools"))),
        decisions=decided[row.sample_id],
    )


def _turns(conversations: Any) -> list[dict[str, str]]:
    turns = conversations if isinstance(conversations, list) else []
    found = [turn for turn in turns[:_MOST_TURNS] if isinstance(turn, dict)]
    return [
        {
            "role": _ROLES.get(str(turn.get("from")), str(turn.get("from", ""))),
            "text": shortened(_text(turn.get("value"))),
        }
        for turn in found
    ]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _options(options: Any, references: Sequence[str]) -> list[dict[str, Any]] | None:
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        return None
    right = {reference.strip().casefold() for reference in references}
    return [{"text": option, "reference": option.strip().casefold() in right, "chosen": False} for option in options]


def _rejected(meta: Mapping[str, Any]) -> str:
    """The rejected answer, or the rejected conversation turn by turn."""
    if text := _text(meta.get("rejected")):
        return shortened(text)
    messages = meta.get("rejected_messages")
    turns = [turn for turn in messages if isinstance(turn, dict)] if isinstance(messages, list) else []
    said = (f"{_text(turn.get('role'))}: {_text(turn.get('content'))}" for turn in turns[:_MOST_TURNS])
    return shortened("\n\n".join(said))


def _curation(row: RowDecision) -> list[tuple[str, str]]:
    """The decision, then every rule that fired with the values that it read and its threshold."""
    found = (
        [("curation", f"{row.decision}, because of {row.reason}" if row.reason else row.decision)]
        if row.decision
        else []
    )
    for rule in row.rules:
        values = ", ".join(f"{name} {_value(value)}" for name, value in rule.values.items())
        parts = [f"{rule.action}: {rule.expression}" if rule.expression != rule.rule else rule.action, values]
        parts += [f"threshold {rule.threshold}"] if rule.threshold else []
        parts += [f"other row {rule.related_row}"] if rule.related_row else []
        found.append((f"rule {rule.rule}", shortened(" · ".join(part for part in parts if part), _LONGEST_FACT)))
    if row.representative and row.representative != row.sample_id:
        distance = [f"{name} {_value(value)}" for name, value in
                    (("distance", row.duplicate_distance), ("bits", row.hamming)) if value is not None]  # fmt: skip
        found.append(("duplicate of", " · ".join([row.representative, *distance])))
    return found


def _suspicion(found: tuple[float, str] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    score, why = found
    return [("suspect", f"{score:.2f}, because of {why}" if why else f"{score:.2f}")]


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _loss(found: tuple[str, RankedLoss] | None) -> list[tuple[str, str]]:
    if found is None:
        return []
    run, loss = found
    return [
        ("loss", f"{loss.last:.3f} after {loss.first:.3f} in {run}, number {loss.rank:,} of {loss.rows:,} from the top")
    ]


def _about(row: RowDecision, meta: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Source and split, what a correction replaced, and the texts and numbers of ``meta``."""
    before = meta.get("before_correction")
    found = [("source", "/".join(part for part in (row.source, row.split) if part))]
    found += (
        [(f"{key} before its correction", _text(value)) for key, value in before.items()]
        if isinstance(before, dict)
        else []
    )
    held = [(key, value) for key, value in meta.items() if key not in _SHOWN_ELSEWHERE and key != "before_correction"]
    found += [(key, _value(value)) for key, value in held if isinstance(value, str | int | float)]
    return [(name, shortened(text, _LONGEST_FACT)) for name, text in found if text][:_MOST_FACTS]


def _boxes(row: RowDecision, meta: Mapping[str, Any], turns: Sequence[Mapping[str, str]]) -> list[Any]:
    def size(number: int) -> tuple[float, float] | None:
        return size_of(row.folder, "", row.images, row.image_keys, number)

    said = [(turn["text"], "reference" if turn["role"] == "assistant" else "row") for turn in turns]
    said = said or [(row.answer, "reference")]
    return [*boxes_of_row(meta, size), *(box for text, of in said for box in boxes_in_tokens(text, of))]  # type: ignore[arg-type]
