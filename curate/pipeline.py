"""A curation from sources to card. A run can be killed at any point; the next one takes up where it stopped.

From decisions to the manifest: the curated files, the exports that the recipe asks for, the card.

A second curated folder on the same measurements, so that two policies can be compared.

What a curation is made from, as digests: tells whether a finished one is still current.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.duplicates import find_duplicates
from curate.duplicates.contamination import find_contamination
from curate.duplicates.splits import assign_splits
from curate.exports.rows import ONE_SPLIT, Curated
from curate.measure.images import measure_images
from curate.measure.texts import measure_text, write_scores
from curate.readers import open_source, other_files
from curate.readers.files import files_of
from curate.readers.ingest import HOW_TO_FETCH, VERSION, all_fetched, read_sources
from curate.recipe import (
    CurateRecipe,
    MatchSettings,
    MeasureSettings,
    RemoteSettings,
    SourceSettings,
    all_rules,
    benchmark_name,
)
from curate.report.card import CARD, write_card
from curate.report.console import count_rows, write_report
from curate.report.results import write_results
from curate.rules.corrected import write_corrected
from curate.rules.decide import CheckedRule, check_rules, decide
from curate.signals import SIGNALS
from curate.signals.clip import ZERO_SHOT
from curate.workspace import StoredPaths, StoredSamples, Workspace, sole_use
from winnow.corrections import read_corrections
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file
from winnow.run import MANIFEST, Stages, file_stats, is_current, package_versions, read_manifest, write_manifest
from winnow.tables import read_batches

_LOSS_COLUMNS = ("sample_id", "stage", "epoch", "loss")


def check_inputs(recipe: CurateRecipe) -> None:
    """Find out what is missing or unreadable before hours are spent on measuring.

    Raises:
        UserError: a source or evaluation set is not there or of no known layout, a file of losses or a
            line of corrections cannot be read.
    """
    for source in all_sources(recipe):
        open_source(source)
    if recipe.corrections:
        read_corrections(recipe.corrections)
    for name, path in recipe.signals.heads.items():
        if not path.is_file():
            raise UserError(f"{path}: no such file; `signals: heads:` names it for {name!r}")
    for path in recipe.losses:
        try:
            columns = pq.read_schema(path).names
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path}: not readable as losses.parquet of a training run ({error})") from error
        absent = [name for name in _LOSS_COLUMNS if name not in columns]
        if absent:
            raise UserError(f"{path}: not readable as losses.parquet of a training run (no column {absent[0]!r})")


def input_digests(recipe: CurateRecipe) -> dict[str, str]:
    """Hex sha256 of every input by name: sources, evaluation sets, corrections, losses."""
    found = {source.location: _digest(source) for source in all_sources(recipe)}
    beside = {str(path): sha256_file(path) for source in all_sources(recipe) for path in other_files(source)}
    return {**found, **beside, **side_inputs(recipe)}


def side_inputs(recipe: CurateRecipe) -> dict[str, str]:
    """Digests of what is read anew by every decision: corrections, losses and linear heads."""
    corrections = sorted(recipe.corrections.glob("*.jsonl")) if recipe.corrections else []
    paths = [*corrections, *recipe.losses, *recipe.signals.heads.values()]
    return {str(path): sha256_file(path) for path in paths if path.is_file()}


def all_sources(recipe: CurateRecipe) -> list[SourceSettings]:
    """Sources and evaluation sets."""
    return [*recipe.sources, *(recipe.contamination.against if recipe.contamination else [])]


def resolved(recipe: CurateRecipe) -> dict[str, Any]:
    """The recipe as JSON without what changes no result; rules as a list, because their order matters."""
    whole = recipe.model_dump(mode="json", exclude={"signals": {"workers", "engine"}, "remote": set(HOW_TO_FETCH)})
    return {**whole, "rules": [{"name": name, **rule} for name, rule in whole["rules"].items()]}


def measured_from(recipe: CurateRecipe) -> str:
    """Digest of the part of a recipe that measuring depends on; prompt sets and heads only read what it stored."""
    sources, signals = [_read_from(one) for one in recipe.sources], resolved(recipe)["signals"]
    signals = {name: value for name, value in signals.items() if name not in ("prompts", "heads")}
    against = [_read_from(one) for one in all_sources(recipe)[len(sources) :]]
    remote = [resolved(recipe)["remote"]] if recipe.remote else []
    return digest_of([sources, signals, against, *remote])


def _read_from(source: SourceSettings) -> dict[str, Any]:
    return source.model_dump(mode="json", exclude={"license"})


def image_stamp(space: Workspace, root: Path) -> str:
    """Digest of name, size and time of every image file of a set."""
    seen = hashlib.sha256()
    for batch in read_batches(space.paths, ["path"]):
        for path in batch.column("path").to_pylist():
            seen.update(repr(file_stats(root / path)).encode("utf-8", "surrogatepass"))
    return seen.hexdigest()


def _digest(source: SourceSettings) -> str:
    """Of a file its bytes; of a folder or pattern names and sizes; of the hub its commit; of a package its version."""
    if source.location.startswith("hub:"):
        from curate.readers.layouts.hub import local_folder, revision

        folder = local_folder(source.location)
        return digest_of([source.location, _names_and_sizes(folder) if folder else revision(source.location)])
    path = Path(source.location)
    if path.is_file():
        return sha256_file(path)
    if path.is_dir():
        return digest_of(_names_and_sizes(path))
    if matching := files_of(source.location, ()):
        return digest_of([[str(file), file.stat().st_size] for file in matching])
    return digest_of([source.location, package_versions()])


def _names_and_sizes(folder: Path) -> list[list[Any]]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [[str(file.relative_to(folder)), file.stat().st_size] for file in files]


def publish(
    recipe: CurateRecipe,
    recipe_name: str,
    rules: list[CheckedRule],
    inputs: dict[str, str],
    root: Path,
    space: Workspace,
    stages: Stages,
    *,
    decode_examples: bool,
) -> dict[str, Any]:
    """Write everything that follows from the decisions, the manifest last; returns the counts.

    Args:
        decode_examples: make thumbnails of the card's examples; else only those that are there are shown small.
    """
    splits = tuple(recipe.splits.shares) if recipe.splits else ()
    outputs: list[Path] = []
    stages.run("write", lambda: outputs.extend(write_results(space, splits)))
    outputs += write_report(space)
    counts = count_rows(space, rules)
    licenses = {one.source or one.location: one.license for one in recipe.sources if one.license}
    shown = write_card(space, recipe, recipe_name, rules, counts, root, decode_examples=decode_examples)
    outputs += [space.folder / CARD, *shown.files]
    made = export_all(recipe, root, space, stages)
    found = [space.decisions, space.corrections, space.duplicate_images, space.paths, space.text, space.scores]
    write_manifest(
        space.folder,
        stage="curate",
        recipe=resolved(recipe),
        inputs=inputs,
        outputs=[*outputs, *(path for path in found if path.is_file()), *space.image_parts()],
        counts=counts,
        seconds=stages.seconds,
        seeds={"seed": recipe.seed, **({"splits": recipe.splits.seed} if recipe.splits else {})},
        extra={
            "image_root": str(root),
            "licenses": licenses,
            "exports": made,
            "card_is_complete": shown.complete,
        },
    )
    return counts


def export_all(recipe: CurateRecipe, root: Path, space: Workspace, stages: Stages) -> list[str]:
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
        stages.run(f"export {settings.to}", lambda one=settings: made.append(str(export(curated, one).folder)))  # type: ignore[misc]
    return made


def exports_are_there(recipe: CurateRecipe) -> bool:
    """Whether every export of the recipe is complete."""
    return all((one.out or recipe.folder / "exports" / one.to).joinpath(MANIFEST).is_file() for one in recipe.exports)


@dataclass(frozen=True)
class Outcome:
    """What a run left.

    Attributes:
        space: where it lies.
        counts: of ``summary.count_rows``.
        seconds: wall time of the steps that ran; empty if everything was up to date.
    """

    space: Workspace
    counts: dict[str, Any]
    seconds: dict[str, float]


def run(recipe: CurateRecipe, recipe_name: str, workers: int | None = None) -> Outcome:
    """Read, measure, compare, decide, write.

    Args:
        recipe_name: how the card calls the recipe.
        workers: processes that decode; changes no result.

    Raises:
        UserError: bad input. The folder then has no manifest, or the one of an earlier, whole run.
    """
    rules = check_rules(all_rules(recipe), recipe.signals.scores)
    check_inputs(recipe)
    space = Workspace(recipe.folder)
    inputs = input_digests(recipe)
    with sole_use(space):
        stages = Stages(space.work)
        if _is_up_to_date(recipe, inputs, space, stages):
            return Outcome(space, read_manifest(space.folder, finish_with="")["counts"], {})
        (space.folder / MANIFEST).unlink(missing_ok=True)
        root = _measure_all(recipe, inputs, workers, space, stages)
        return _judge(recipe, recipe_name, rules, inputs, root, space, stages, decode_examples=True)


def _measure_all(
    recipe: CurateRecipe, inputs: dict[str, str], workers: int | None, space: Workspace, stages: Stages
) -> Path:
    """The set itself, then the evaluation sets that it is compared with; returns the set's image root."""
    settings = recipe.signals.model_copy(update={"workers": workers or recipe.signals.workers})
    roots = {"": str(_measure(recipe.sources, inputs, settings, recipe.remote, space, stages, ""))}
    for evaluation in recipe.contamination.against if recipe.contamination else []:
        name = benchmark_name(evaluation)
        # With embeddings, the dashboard finds the training rows nearest to an evaluation failure.
        without_nsfw = settings.model_copy(update={"nsfw": None})
        there = space.against(name)
        roots[name] = str(_measure([evaluation], inputs, without_nsfw, recipe.remote, there, stages, f"{name}: "))
        _correct(None, {}, there, stages, f"{name}: ")
    for note, value in {"measured": measured_from(recipe), "inputs": inputs, "roots": roots}.items():
        stages.set(note, value)
    return Path(roots[""])


def decide_again(recipe: CurateRecipe, recipe_name: str) -> Outcome:
    """Everything after measuring, from stored signals: opens no image.

    Raises:
        UserError: nothing was measured yet, or not with these sources and signals.
    """
    rules = check_rules(all_rules(recipe), recipe.signals.scores)
    space = Workspace(recipe.folder)
    stages = Stages(space.work)
    if stages.get("measured") is None:
        raise UserError(f"{space.folder}: nothing is measured there yet; run `curate run {recipe_name}` first")
    if stages.get("measured") != measured_from(recipe):
        raise UserError(
            f"{space.folder}: the recipe's sources, signals or evaluation sets are not those that were measured;"
            f" run `curate run {recipe_name}`"
        )
    measured = {source.location: stages.get("inputs")[source.location] for source in all_sources(recipe)}
    inputs = {**measured, **side_inputs(recipe)}
    with sole_use(space):
        (space.folder / MANIFEST).unlink(missing_ok=True)
        root = Path(stages.get("roots")[""])
        return _judge(recipe, recipe_name, rules, inputs, root, space, stages, decode_examples=False)


def _is_up_to_date(recipe: CurateRecipe, inputs: dict[str, str], space: Workspace, stages: Stages) -> bool:
    """Whether the folder holds the result of this recipe on these inputs, and no image file has changed since."""
    if not is_current(space.folder, recipe=resolved(recipe), inputs=inputs) or not exports_are_there(recipe):
        return False
    if not read_manifest(space.folder, finish_with="").get("card_is_complete"):
        return False  # `decide` wrote the card and opened no image for it
    if not all_fetched(stages, [f"{name}: " if name else "" for name in stages.get("roots") or {}]):
        return False
    return bool(stages.get("images") == _image_stamps(space, stages))


def _image_stamps(space: Workspace, stages: Stages) -> dict[str, str]:
    """Of the set and of each evaluation set: what tells that an image file has changed."""
    roots = stages.get("roots") or {}
    return {name: image_stamp(space.against(name) if name else space, Path(root)) for name, root in roots.items()}


def _measure(
    sources: Sequence[SourceSettings], inputs: dict[str, str], settings: MeasureSettings,
    remote: RemoteSettings | None, space: Workspace, stages: Stages, label: str,
) -> Path:  # fmt: skip
    """Rows and image signals of one set; returns the folder below which its images lie."""
    root = read_sources(sources, inputs, settings, remote, space, stages, label)
    paths = StoredPaths(space.rows)
    stages.run(f"{label}measure images", lambda: measure_images(paths, root, space.signals, settings))
    return root


def _correct(folder: Path | None, digests: dict[str, str], space: Workspace, stages: Stages, label: str = "") -> None:
    key = [VERSION, file_stats(space.rows, below=space.folder), sha256_file(space.paths), digests]
    outputs = [space.samples, space.corrections]
    stages.run_if_stale(f"{label}corrections", key, outputs, lambda: write_corrected(space, folder))


def _judge(
    recipe: CurateRecipe, recipe_name: str, rules: list[CheckedRule], inputs: dict[str, str], root: Path,
    space: Workspace, stages: Stages, *, decode_examples: bool,
) -> Outcome:  # fmt: skip
    """From stored image signals to the manifest."""
    _correct(recipe.corrections, side_inputs(recipe), space, stages)
    known = [VERSION, file_stats(space.samples, *space.image_parts(), below=space.folder)]
    settings = recipe.signals
    stages.run_if_stale(
        "measure texts",
        [known, SIGNALS["text"].version, settings.clip and settings.clip.model_dump(mode="json")],
        [space.text],
        lambda: measure_text(StoredSamples(space.samples), space.signals, settings),
    )
    _score(recipe, known, space, stages)
    _compare(recipe, known, space, stages)
    _split(recipe, known, space, stages)
    stages.run("decide", lambda: decide(space, rules, recipe.losses))
    stages.set("images", _image_stamps(space, stages))
    counts = publish(recipe, recipe_name, rules, inputs, root, space, stages, decode_examples=decode_examples)
    return Outcome(space, counts, stages.seconds)


def _score(recipe: CurateRecipe, known: list[Any], space: Workspace, stages: Stages) -> None:
    """Prompt sets and linear heads on the stored embeddings, where the recipe has any."""
    settings = recipe.signals
    if not settings.scores:
        space.scores.unlink(missing_ok=True)
        return
    heads = {name: sha256_file(path) for name, path in settings.heads.items()}
    key = [known, ZERO_SHOT.version, settings.model_dump(mode="json", include={"clip", "prompts"}), heads]
    key.append({name: one.model_dump(mode="json") for name, one in settings.prompt_sets.items()})
    stages.run_if_stale("score embeddings", key, [space.scores], lambda: write_scores(space.signals, settings))


def _split(recipe: CurateRecipe, known: list[Any], space: Workspace, stages: Stages) -> None:
    """Splits, where the recipe asks for them."""
    splits = recipe.splits
    if splits is None:
        space.splits.unlink(missing_ok=True)
        return
    match = MatchSettings(**(recipe.duplicates or MatchSettings()).model_dump(include=set(MatchSettings.model_fields)))
    key = [known, splits.model_dump(mode="json"), match.model_dump(mode="json")]
    stages.run_if_stale("splits", key, [space.splits], lambda: assign_splits(space, splits, match))


def _compare(recipe: CurateRecipe, known: list[Any], space: Workspace, stages: Stages) -> None:
    """Contamination and duplicates, where the recipe asks for them; what an earlier recipe left is removed."""
    contamination, duplicates = recipe.contamination, recipe.duplicates
    if contamination is None:
        space.contamination_rows.unlink(missing_ok=True)
    else:
        sets = [(benchmark_name(one), space.against(benchmark_name(one))) for one in contamination.against]
        key = [
            known,
            contamination.model_dump(mode="json"),
            [file_stats(other.samples, below=other.folder) for _, other in sets],
        ]
        outputs = [space.contamination_rows, space.contamination_counts]
        stages.run_if_stale("contamination", key, outputs, lambda: find_contamination(space, sets, contamination))
    if duplicates is None:
        space.duplicate_images.unlink(missing_ok=True)
        space.duplicate_rows.unlink(missing_ok=True)
    else:
        key = [known, duplicates.model_dump(mode="json")]
        outputs = [space.duplicate_images, space.duplicate_rows]
        stages.run_if_stale("duplicates", key, outputs, lambda: find_duplicates(space, duplicates))


_OWN = {MANIFEST, "lock", "plots", "exports"}


def branch(recipe: CurateRecipe, into: Path) -> CurateRecipe:
    """Give ``into`` what was measured for the recipe's folder; returns the recipe for there, without its exports.

    Files are linked, not copied, where the disk allows: they are only ever replaced whole.

    Raises:
        UserError: nothing was measured, or ``into`` is not empty and no earlier branch.
    """
    source, target = Workspace(recipe.folder), Workspace(into)
    if not source.paths.is_file():
        raise UserError(f"{source.folder}: nothing is measured there yet; make it with `curate run` first")
    if into.resolve().is_relative_to(source.folder.resolve()):
        raise UserError(f"{into}: is the recipe's own folder, or in it; leave out --into, or give another folder")
    if into.exists() and any(into.iterdir()) and not target.paths.is_file():
        raise UserError(f"{into}: is there already and is no curated folder; choose another one")
    with sole_use(source), sole_use(target):
        (into / MANIFEST).unlink(missing_ok=True)
        shutil.copytree(source.folder, into, copy_function=_link, dirs_exist_ok=True, ignore=_not_taken)
    return recipe.model_copy(update={"out": into, "exports": []})


def _not_taken(_: str, names: list[str]) -> set[str]:
    """The result's manifest, what people have made from the result, and what is only used while a run lasts."""
    return {name for name in names if name in _OWN or name.endswith((".tmp", ".partial"))}


def _link(source: str, target: str) -> str:
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        shutil.copy2(source, target)
    return target
