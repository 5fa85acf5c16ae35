"""From decisions to the manifest: the curated files, the exports that the recipe asks for, the card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.contamination import write_report
from curate.exports.rows import ONE_SPLIT, Curated
from curate.inputs import resolved
from curate.recipe import CurateRecipe
from curate.report.card import CARD, write_card
from curate.report.console import count_rows
from curate.report.results import write_results
from curate.rules.fates import CheckedRule
from curate.steps import Steps
from curate.workspace import Workspace
from winnow.run import MANIFEST, write_manifest


def publish(
    recipe: CurateRecipe,
    recipe_name: str,
    rules: list[CheckedRule],
    inputs: dict[str, str],
    root: Path,
    space: Workspace,
    steps: Steps,
    *,
    decode_examples: bool,
) -> dict[str, Any]:
    """Write everything that follows from the decisions, the manifest last; returns the counts.

    Args:
        decode_examples: make thumbnails of the card's examples; else only those that are there are shown small.
    """
    splits = tuple(recipe.splits.shares) if recipe.splits else ()
    outputs: list[Path] = []
    steps.always("write", lambda: outputs.extend(write_results(space, splits)))
    outputs += write_report(space)
    counts = count_rows(space, rules)
    licenses = {one.source or one.location: one.license for one in recipe.sources if one.license}
    shown = write_card(space, recipe, recipe_name, rules, counts, root, decode_examples=decode_examples)
    outputs += [space.folder / CARD, *shown.files]
    made = export_all(recipe, root, space, steps)
    found = [space.decisions, space.corrections, space.duplicate_images, space.paths, space.text, space.scores]
    write_manifest(
        space.folder,
        stage="curate",
        recipe=resolved(recipe),
        inputs=inputs,
        outputs=[*outputs, *(path for path in found if path.is_file()), *space.image_parts()],
        counts=counts,
        seconds=steps.seconds,
        seeds={"seed": recipe.seed, **({"splits": recipe.splits.seed} if recipe.splits else {})},
        extra={
            "image_root": str(root),
            "licenses": licenses,
            "exports": made,
            "card_is_complete": shown.complete,
        },
    )
    return counts


def export_all(recipe: CurateRecipe, root: Path, space: Workspace, steps: Steps) -> list[str]:
    """The exports of the recipe; returns their folders."""
    from curate.exports.export import export

    curated = Curated(
        folder=space.folder,
        name=recipe.name,
        root=root,
        licenses=tuple(dict.fromkeys(one.license for one in recipe.sources if one.license)),
        splits=tuple(recipe.splits.shares) if recipe.splits else (ONE_SPLIT,),
    )
    made: list[str] = []
    for settings in recipe.exports:
        steps.always(f"export {settings.to}", lambda one=settings: made.append(str(export(curated, one).folder)))  # type: ignore[misc]
    return made


def exports_are_there(recipe: CurateRecipe) -> bool:
    """Whether every export of the recipe is complete."""
    return all((one.out or recipe.folder / "exports" / one.to).joinpath(MANIFEST).is_file() for one in recipe.exports)
