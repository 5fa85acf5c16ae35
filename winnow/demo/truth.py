"""Compare a curation of the demo's data with the truth about its injected defects.

python -m winnow.demo.truth --curated data/curated/demo
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import typer
from rich.console import Console
from rich.table import Table

from winnow import errors
from winnow.demo.defects import CORRUPT
from winnow.demo.scoring import Decision, Score, decision, ranking, score, score_pairs
from winnow.errors import UserError
from winnow.files import write_json
from winnow.run import read_manifest

REPORT = "truth_report.json"
# Defect → the rule of the demo's recipe that should fire on it.
RULES = {"blurred": "blurry", "leaked": "contaminated", "contradictory": "conflicting", "wrong_answer": "misaligned"}
_MAKE_DATA = "python -m winnow.demo.make_dataset"
_CURATE = "curate run curate/recipes/demo.yaml"

app = typer.Typer(add_completion=False, rich_markup_mode=None)


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
        fired = {sample_id for sample_id, made in decisions.items() if rule in made.fired}
        neutral = added_answers(truth) if name == "wrong_answer" else set()
        scores[name] = score(affected[name], fired - neutral)
    return scores


def added_answers(truth: list[dict[str, Any]]) -> set[str]:
    """The extra rows of the contradictory pairs."""
    return {row["sample_id"] for row in truth if row["defect"] == "contradictory" and "/con-" in row["sample_id"]}


def alignment_ranking(curated: Path, truth: list[dict[str, Any]]) -> dict[str, Any] | None:
    """How far low ``clip_alignment`` alone tells wrong answers from right ones; None if it was not measured."""
    path = curated / "signals" / "text.parquet"
    if not path.is_file():
        return None
    ids, values = read_table(path, ["sample_id", "clip_alignment"], _CURATE).columns
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
            f" ({unseen[0]} …); curate the same data anew with `{_CURATE}`"
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
    title = f"Injected defects against decisions on {report['rows']:,} rows (near_duplicate: pairs)"
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

    Near-duplicates are counted in pairs, everything else in rows. Rules looked for: the classes of
    corrupt files (or a rule that recorded the column `error`), duplicate, blurry, contaminated,
    conflicting, misaligned. The report lists the first misses and false alarms of each.

    Example: python -m winnow.demo.truth --curated data/curated/demo
    """
    report = compare(curated, truth)
    write_json(curated / REPORT, report)
    show(report)


if __name__ == "__main__":
    errors.run(app)
