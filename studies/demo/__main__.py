"""Does curation pay? ``python -m studies.curation_pays``, or ``make proof``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from studies.curation_pays.arms import Arm
from studies.curation_pays.comparison import all_defects, main_arms, main_report, prepare, run_sweep
from studies.curation_pays.lab import Lab, default_jobs
from studies.curation_pays.photos import photo_report
from studies.curation_pays.report import PAGE, around_section, read_parts, update_page, write_report
from studies.curation_pays.rules import rule_report
from studies.curation_pays.second_turn import run_second_turn
from studies.curation_pays.sets import TEST
from studies.curation_pays.settings import StudySettings, read_settings
from winnow import console
from winnow.files import write_json
from winnow.run import read_manifest

HERE = Path("studies/curation_pays")  # below the repository, where the study runs
PARTS = ("rules", "photos", "main", "second_turn", "sweep")
app = console.new_app(single_command=True)


@app.command()
def main(
    settings: Annotated[Path, typer.Argument(help="What to run (YAML).")] = HERE / "settings/full.yaml",
    out: Annotated[Path, typer.Option(help="Folder of the results; small files.")] = HERE / "results",
    cache: Annotated[Path, typer.Option(help="Folder of sets, trainings and evaluations.")] = Path("data/cache/proof"),
    part: Annotated[
        list[str] | None, typer.Option(help=f"Only this part, repeatable: {', '.join(PARTS)}. [default: all]")
    ] = None,
    docs: Annotated[bool, typer.Option("--docs", help=f"Put the text into {PAGE}.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings at a time, 5 GB each. [default: 1 on a GPU, else one per core, up to 4]"),
    ] = None,
    photos: Annotated[int, typer.Option(min=20, help="Images of each kind in the study of photographs.")] = 120,
    report: Annotated[
        bool, typer.Option("--report", help="Train nothing; write tables, plots and text from the stored results.")
    ] = False,
) -> None:
    """Show whether curation pays: train on dirty, curated and clean data for the same number of steps, and compare.

    Every arm is cached: after an interruption the same command resumes. The results of each part
    are written as soon as it is done: JSON, CSV tables, plots, and the text of the docs.

    Example: python -m studies.curation_pays studies/curation_pays/settings/quick.yaml --part rules --part main
    """
    chosen = read_settings(settings)
    if unknown := set(part or []) - set(PARTS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    if docs:
        around_section()  # fails now rather than after hours
    if not report:
        run_parts(chosen, [name for name in PARTS if part is None or name in part], out, cache, jobs, photos)
    write_report(read_parts(out, PARTS), out)
    if docs:
        update_page(read_parts(out, PARTS), out)
    print(f"{out}: results, tables, plots and section.md" + (f", which is in {PAGE} now" if docs else ""))


def run_parts(chosen: StudySettings, parts: list[str], out: Path, cache: Path, jobs: int | None, photos: int) -> None:
    """Run the parts that the settings have; each writes ``PART.json`` into ``out`` when it is done.

    Raises:
        UserError: the demo's data is missing, or a stage failed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    read_manifest(TEST.parent, finish_with="make demo-data")
    lab = Lab(chosen, cache, jobs or default_jobs())
    sets = prepare(lab)
    arms: dict[str, list[Arm]] = {}
    out.mkdir(parents=True, exist_ok=True)
    for name in parts:
        if name in ("main", "second_turn", "sweep"):
            arms = arms or main_arms(lab, sets)
        match name:
            case "rules":
                of_rules = chosen.model_copy(update={"images": chosen.rule_images, "kinds": None})
                found = rule_report(*all_defects(Lab(of_rules, cache, 1)))
            case "photos":
                found = photo_report(photos)
            case "main":
                found = main_report(lab, sets, arms)
            case "second_turn" if chosen.second_turn:
                found = run_second_turn(lab, chosen.second_turn, sets.raw, sets.curated, arms["dirty"])
            case "sweep" if chosen.sweep:
                found = run_sweep(lab, chosen.sweep, arms["clean"])
            case _:
                continue  # the settings have no such part
        write_json(out / f"{name}.json", {"settings": chosen.model_dump(mode="json"), **found})
        write_report(read_parts(out, PARTS), out)


if __name__ == "__main__":
    console.run(app)
