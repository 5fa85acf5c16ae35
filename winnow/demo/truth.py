"""Compare a curation of the demo's data with the truth: recall and precision per injected defect.

python -m winnow.demo.truth --curated data/curated/demo
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from winnow import console
from winnow.demo.defects import CORRUPT
from winnow.errors import UserError
from winnow.files import write_json
from winnow.parquet.table_parts import Parts
from winnow.run import read_manifest

_LISTED = 20  # ids of misses and false alarms in the report


@dataclass(frozen=True, slots=True)
class Decision:
    """What a curation did to one row.

    Attributes:
        fired: names of all rules that fired on it.
        corrupt: class of its image file (one of CORRUPT) as a rule recorded it, or None.
        twin: the row that the rule ``duplicate`` kept in its place, or None.
        group: its group of near-identical images, or None.
    """

    fired: frozenset[str] = frozenset()
    corrupt: str | None = None
    twin: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """Recall and precision of one defect; None where nothing was there or nothing fired.

    Attributes:
        affected: rows (or pairs) that have the defect.
        found: how many of them were found.
        fired: rows on which the rule fired, right or wrong.
        right: how many of these have the defect.
        missed, false_alarms: the first ids of each.
    """

    affected: int
    found: int
    fired: int
    right: int
    missed: tuple[str, ...] = ()
    false_alarms: tuple[str, ...] = ()

    @property
    def recall(self) -> float | None:
        """Share of affected rows (or pairs) that were found."""
        return self.found / self.affected if self.affected else None

    @property
    def precision(self) -> float | None:
        """Share of rows on which the rule fired that have the defect."""
        return self.right / self.fired if self.fired else None


def decision(rules: Sequence[Mapping[str, Any]], group: str | None) -> Decision:
    """Read one row of ``decisions.parquet``: its fired rules and its duplicate group."""
    corrupt = twin = None
    for rule in rules:
        recorded = json.loads(rule["values"] or "{}").get("error")
        corrupt = next((name for name in (rule["rule"], recorded) if name in CORRUPT), corrupt)
        if rule["rule"] == "duplicate":
            twin = rule["related_row"]
    return Decision(frozenset(rule["rule"] for rule in rules), corrupt, twin, group)


def score(affected: Collection[str], fired: Collection[str]) -> Score:
    """Score of a rule that should fire on exactly the rows ``affected``."""
    wanted, got = set(affected), set(fired)
    right = len(wanted & got)
    return Score(len(wanted), right, len(got), right, _first(wanted - got), _first(got - wanted))


def score_pairs(pairs: Collection[tuple[str, str]], decisions: Mapping[str, Decision]) -> Score:
    """Score of the rule ``duplicate`` on injected pairs.

    A pair is found when it fired on either row, and the other one is the kept twin or is in the
    same group. A false alarm is any other row on which it fired that is in no pair.
    """
    fired = {sample_id for sample_id, made in decisions.items() if "duplicate" in made.fired}
    missed = [pair[0] for pair in pairs if not any(_drops(pair, side, fired, decisions) for side in (0, 1))]
    paired = {sample_id for pair in pairs for sample_id in pair}
    right = len(fired & paired)
    return Score(len(pairs), len(pairs) - len(missed), len(fired), right, _first(missed), _first(fired - paired))


def score_contradictions(pairs: Collection[tuple[str, str]], decisions: Mapping[str, Decision]) -> Score:
    """Score of the rule ``conflicting`` on injected pairs of contradictory answers.

    A pair is found when the rule fired on either row, or ``misaligned`` did: a row that it drops contradicts no longer.
    """
    fired = {sample_id for sample_id, made in decisions.items() if "conflicting" in made.fired}
    settled = fired | {sample_id for sample_id, made in decisions.items() if "misaligned" in made.fired}
    missed = [pair[0] for pair in pairs if settled.isdisjoint(pair)]
    paired = {sample_id for pair in pairs for sample_id in pair}
    right = len(fired & paired)
    return Score(len(pairs), len(pairs) - len(missed), len(fired), right, _first(missed), _first(fired - paired))


def _drops(pair: tuple[str, str], side: int, fired: set[str], decisions: Mapping[str, Decision]) -> bool:
    dropped, other = pair[side], pair[1 - side]
    made = decisions[dropped]
    same_group = made.group is not None and made.group == decisions[other].group
    return dropped in fired and (made.twin == other or same_group)


def _first(ids: Collection[str]) -> tuple[str, ...]:
    return tuple(sorted(ids)[:_LISTED])


def ranking(suspicion: np.ndarray, positive: np.ndarray) -> dict[str, float]:
    """How well a signal puts positives first: ROC-AUC, average precision, recall at 50% and 90% precision.

    Args:
        suspicion: (N,) float, higher is more suspect; equal values are taken together.
        positive: (N,) bool, at least one True and one False.

    Average precision is the sum over thresholds of precision × gain in recall, as scikit-learn has it.
    """
    order = np.argsort(-suspicion, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(suspicion[order])), len(order) - 1)
    hits = np.cumsum(positive[order])[ends]
    alarms = ends + 1 - hits
    recall, precision = hits / hits[-1], hits / (ends + 1)
    roc_auc = np.trapezoid(np.append(0, recall), np.append(0, alarms / alarms[-1]))
    return {
        "roc_auc": float(roc_auc),
        "average_precision": float(np.sum(np.diff(np.append(0, recall)) * precision)),
        "recall_at_50_precision": float(recall[precision >= 0.5].max(initial=0)),
        "recall_at_90_precision": float(recall[precision >= 0.9].max(initial=0)),
    }


REPORT = "truth_report.json"
# Defect → the rule of the demo's recipe that should fire on it.
RULES = {"blurred": "blurry", "leaked": "contaminated", "contradictory": "conflicting", "wrong_answer": "misaligned"}
_MAKE_DATA = "python -m winnow.demo.dataset"
_CURATE = "curate run curate/recipes/demo.yaml"

app = console.new_app(single_command=True)


def read_table(path: Path, columns: list[str], make_with: str) -> pa.Table:
    """Some columns of a Parquet file.

    Raises:
        UserError: the file is missing, or is no Parquet file with these columns.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; make it with `{make_with}`")
    try:
        return pq.read_table(path, columns=columns).select(columns)
    except (pa.ArrowInvalid, KeyError) as error:
        raise UserError(f"{path}: not a Parquet file with columns {', '.join(columns)}; remake it") from error


def read_decisions(curated: Path) -> dict[str, Decision]:
    """sample_id → what the curation in ``curated`` decided."""
    columns = ["sample_id", "rules", "duplicate_group"]
    rows = read_table(curated / "decisions.parquet", columns, _CURATE).to_pylist()
    return {row["sample_id"]: decision(row["rules"] or [], row["duplicate_group"]) for row in rows}


def defect_scores(truth: list[dict[str, Any]], decisions: dict[str, Decision]) -> dict[str, Score]:
    """Score per defect, and of all corrupt kinds together, in the order of the printed table.

    The extra row of a contradictory pair holds a wrong answer too, so ``misaligned`` is not scored on it.
    """
    affected = {
        name: {row["sample_id"] for row in truth if row["defect"] == name}
        for name in (*CORRUPT, "near_duplicate", *RULES)
    }
    corrupt = {sample_id: made.corrupt for sample_id, made in decisions.items() if made.corrupt}
    scores = {"corrupt": score(set().union(*(affected[name] for name in CORRUPT)), corrupt)}
    for name in CORRUPT:
        scores[name] = score(affected[name], [sample_id for sample_id, kind in corrupt.items() if kind == name])
    pairs = [(row["sample_id"], row["twin_id"]) for row in truth if row["defect"] == "near_duplicate"]
    scores["near_duplicate"] = score_pairs(pairs, decisions)
    for name, rule in RULES.items():
        if name == "contradictory":  # each pair stands in the truth twice, once from either side
            both = {frozenset((row["sample_id"], row["twin_id"])) for row in truth if row["defect"] == name}
            scores[name] = score_contradictions([(min(pair), max(pair)) for pair in both], decisions)
            continue
        fired = {sample_id for sample_id, made in decisions.items() if rule in made.fired}
        neutral = added_answers(truth) if name == "wrong_answer" else set()
        scores[name] = score(affected[name], fired - neutral)
    return scores


def added_answers(truth: list[dict[str, Any]]) -> set[str]:
    """The extra rows of the contradictory pairs."""
    return {row["sample_id"] for row in truth if row["defect"] == "contradictory" and "/con-" in row["sample_id"]}


def alignment_ranking(curated: Path, truth: list[dict[str, Any]]) -> dict[str, Any] | None:
    """How well ``clip_alignment`` alone separates wrong answers from right ones; None if it was not measured."""
    texts = Parts(curated / "signals" / "text")
    if not texts.exists():
        return None
    ids, values = pa.Table.from_batches(texts.batches(["sample_id", "clip_alignment"])).columns
    wrong = {row["sample_id"] for row in truth if row["defect"] == "wrong_answer"}
    neutral = added_answers(truth)
    measured = [
        (-value, sample_id in wrong)
        for sample_id, value in zip(ids.to_pylist(), values.to_pylist(), strict=True)
        if value is not None and sample_id not in neutral
    ]
    positives = sum(is_wrong for _, is_wrong in measured)
    if positives in (0, len(measured)):
        return None
    suspicion, positive = (np.array(column) for column in zip(*measured, strict=True))
    return {"wrong": positives, "right": len(measured) - positives, **ranking(suspicion, positive)}


def compare(curated: Path, truth_file: Path) -> dict[str, Any]:
    """Scores of all defects as a JSON-able report.

    Raises:
        UserError: a folder or file is missing or unfinished, or the curation saw other data.
    """
    read_manifest(curated, finish_with=_CURATE)
    truth = read_table(truth_file, ["sample_id", "defect", "twin_id"], _MAKE_DATA).to_pylist()
    decisions = read_decisions(curated)
    unseen = [row["sample_id"] for row in truth if row["sample_id"] not in decisions]
    if unseen:
        raise UserError(
            f"{curated}: has no decision about {len(unseen)} of the {len(truth)} rows in {truth_file}"
            f" ({unseen[0]} …); curate the same data again with `{_CURATE}`"
        )
    scores = defect_scores(truth, decisions)
    return {
        "rows": len(decisions),
        "defects": {
            name: {**asdict(made), "recall": made.recall, "precision": made.precision} for name, made in scores.items()
        },
        "clip_alignment": alignment_ranking(curated, truth),
    }


def show(report: dict[str, Any]) -> None:
    """Print the report as a table."""
    title = f"Injected defects against decisions on {report['rows']:,} rows (near_duplicate, contradictory: pairs)"
    table = Table("defect", title=title, title_justify="left")
    table.add_column("rule")
    for heading in ("affected", "recall", "fired", "precision"):
        table.add_column(heading, justify="right")
    for name, made in report["defects"].items():
        shares = ["–" if made[key] is None else f"{made[key]:.4f}" for key in ("recall", "precision")]
        label = f"  {name}" if name in CORRUPT else name
        rule = RULES.get(name, "duplicate" if name == "near_duplicate" else "file's class")
        table.add_row(label, rule, f"{made['affected']:,}", shares[0], f"{made['fired']:,}", shares[1])
    screen = Console()
    screen.print(table)
    if ranks := report["clip_alignment"]:
        screen.print(
            f"Wrong answers by clip_alignment alone: ROC-AUC {ranks['roc_auc']:.3f}, average precision"
            f" {ranks['average_precision']:.3f}, recall {ranks['recall_at_90_precision']:.3f} at 90% precision and"
            f" {ranks['recall_at_50_precision']:.3f} at 50%.",
            highlight=False,
        )


@app.command()
def main(
    curated: Annotated[Path, typer.Option(help="Folder that `curate run` made.")] = Path("data/curated/demo"),
    truth: Annotated[Path, typer.Option(help="The truth about the raw data.")] = Path("data/raw/demo/truth.parquet"),
) -> None:
    """Print recall and precision of a curation per injected defect; write truth_report.json beside it.

    Near-duplicates and contradictory answers are counted in pairs, everything else in rows. Rules looked for: the
    classes of corrupt files (or a rule that recorded the column `error`), duplicate, blurry, contaminated,
    conflicting, misaligned. The report lists the first misses and false alarms of each.

    Example: python -m winnow.demo.truth --curated data/curated/demo
    """
    report = compare(curated, truth)
    write_json(curated / REPORT, report)
    show(report)


if __name__ == "__main__":
    console.run(app)
