"""Does curation pay? ``python -m studies.demo``, or ``make proof``."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from studies.demo.comparison import main_report, make_case
from studies.demo.lab import Lab, default_jobs
from studies.demo.photos import photo_report
from studies.demo.report import PAGE, around_section, read_parts, update_page, write_report
from studies.demo.rules import rule_report
from studies.demo.sets import TEST
from studies.demo.settings import StudySettings, read_settings
from winnow import console
from winnow.files import write_json
from winnow.run import git_commit, installed_version, read_manifest

HERE = Path("studies/demo")  # below the repository, where the study runs
PARTS = ("main", "rules", "photos")
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
        typer.Option(min=1, help="Trainings at a time, 2 GB each. [default: 1 on a GPU, else one per core, up to 4]"),
    ] = None,
    photos: Annotated[int, typer.Option(min=20, help="Images of each kind in the study of photographs.")] = 120,
    report: Annotated[
        bool, typer.Option("--report", help="Train nothing; write tables, plots and text from the stored results.")
    ] = False,
) -> None:
    """Show whether curation pays: train on dirty, curated and clean data for the same number of steps, and compare.

    Every arm is cached: after an interruption the same command resumes. The results of each part
    are written as soon as it is done: JSON, CSV tables, plots, and the text of the docs.

    Example: python -m studies.demo studies/demo/settings/quick.yaml --part rules --part main
    """
    chosen = read_settings(settings)
    if unknown := set(part or []) - set(PARTS):
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}: choose from {', '.join(PARTS)}")
    if docs:
        around_section()  # fails now rather than after an hour
    if not report:
        run_parts(chosen, [name for name in PARTS if part is None or name in part], out, cache, jobs, photos)
    write_report(read_parts(out, PARTS), out)
    if docs:
        update_page(read_parts(out, PARTS), out)
    print(f"{out}: results, tables, plots and section.md" + (f", which is in {PAGE} now" if docs else ""))


def run_parts(chosen: StudySettings, parts: list[str], out: Path, cache: Path, jobs: int | None, photos: int) -> None:
    """Run the parts; each writes ``PART.json`` into ``out`` when it is done.

    Raises:
        UserError: the demo's data is missing, or a stage failed.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    read_manifest(TEST.parent, finish_with="make demo-data")
    lab = Lab(chosen, cache, jobs or default_jobs())
    work: dict[str, Callable[[], dict[str, Any]]] = {
        "main": lambda: {"settings": chosen.model_dump(mode="json"), **main_report(lab)},
        "rules": lambda: rules_part(chosen, cache),
        "photos": lambda: photo_report(photos),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name in parts:
        made_by = f"Winnow {installed_version()}, commit {(git_commit() or 'unknown')[:8]}"
        write_json(out / f"{name}.json", {"made_by": made_by, **work[name]()})
        write_report(read_parts(out, PARTS), out)


def rules_part(chosen: StudySettings, cache: Path) -> dict[str, Any]:
    """The rules on a set with all types of question, at the rates of the first comparison."""
    rates = chosen.comparisons[0]
    lab = Lab(chosen.model_copy(update={"images": chosen.rule_images, "kinds": None}), cache, 1)
    of = f"{chosen.rule_images or 4000:,} images, pictures {rates.pictures:.0%}, answers {rates.answers:.0%}"
    return {"of": of, **rule_report(make_case(lab, "all", rates.shares()))}


if __name__ == "__main__":
    console.run(app)
