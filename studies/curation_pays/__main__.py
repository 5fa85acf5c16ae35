"""``python -m studies.curation_pays``, or ``make proof``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from studies.curation_pays.arms import Arm
from studies.curation_pays.exam import TEST
from studies.curation_pays.lab import Lab, default_jobs
from studies.curation_pays.main_study import all_defects, main_arms, main_report, prepare
from studies.curation_pays.photos import photo_report
from studies.curation_pays.report import around_section, read_parts, update_readme, write_report
from studies.curation_pays.second_turn import run_second_turn
from studies.curation_pays.section import section
from studies.curation_pays.settings import read_settings
from studies.curation_pays.sweep import run_sweep
from studies.curation_pays.thresholds import rule_report
from winnow import console
from winnow.files import write_json
from winnow.run import read_manifest

HERE = Path(__file__).parent
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
    readme: Annotated[bool, typer.Option("--readme", help="Put the section into README.md.")] = False,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings at a time. [default: 1 on a GPU, else one a core, up to 4; 5 GB each]"),
    ] = None,
    photos: Annotated[int, typer.Option(min=20, help="Images of each kind in the study of photographs.")] = 120,
) -> None:
    """Show whether curation pays: train on dirty, curated and clean data for the same number of steps, and compare.

    Every arm is cached; started again after a kill, the same command goes on. Results are written
    after each part: JSON, CSV tables, plots, and the README's section.

    Example: python -m studies.curation_pays studies/curation_pays/settings/quick.yaml --part rules --part main
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    chosen = read_settings(settings)
    asked = [one for one in PARTS if part is None or one in part]
    if unknown := set(part or []) - set(PARTS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: there are {', '.join(PARTS)}")
    read_manifest(TEST.parent, finish_with="make demo-data")
    if readme:
        around_section()  # better now than after hours
    lab = Lab(chosen, cache, jobs or default_jobs())
    sets = prepare(lab)
    arms: dict[str, list[Arm]] = {}
    out.mkdir(parents=True, exist_ok=True)
    for name in asked:
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
        report = read_parts(out, PARTS)
        write_report(report, out)
    if readme:
        update_readme(section(read_parts(out, PARTS), out))
    print(f"{out}: results, tables, plots and section.md" + (", which is in README.md now" if readme else ""))


if __name__ == "__main__":
    console.run(app)
