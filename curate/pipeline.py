"""A curation from sources to card. A run can be killed at any point; the next one takes up where it stopped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.contamination import find_contamination
from curate.duplicates import find_duplicates
from curate.duplicates.splits import assign_splits
from curate.inputs import all_sources, check_inputs, image_stamp, input_digests, measured_from, resolved, side_inputs
from curate.measure.images import measure_images
from curate.measure.scores import write_scores
from curate.measure.texts import measure_text
from curate.reading.rows import VERSION, all_fetched, read_sources
from curate.recipe import CurateRecipe, MatchSettings, all_rules, benchmark_name
from curate.rules.corrected import write_corrected
from curate.rules.decide import check_rules, decide
from curate.rules.fates import CheckedRule
from curate.settings import MeasureSettings, RemoteSettings, SourceSettings
from curate.signals import SIGNAL_VERSIONS
from curate.signals.zero_shot import VERSION as ZERO_SHOT_VERSION
from curate.steps import Steps, stamp
from curate.stored import StoredPaths, StoredSamples
from curate.workspace import Workspace, sole_use
from curate.writing.publish import exports_are_there, publish
from winnow.errors import UserError
from winnow.files import sha256_file
from winnow.run import MANIFEST, is_current, read_manifest


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
        steps = Steps(space.work)
        if _is_up_to_date(recipe, inputs, space, steps):
            return Outcome(space, read_manifest(space.folder, finish_with="")["counts"], {})
        (space.folder / MANIFEST).unlink(missing_ok=True)
        root = _measure_all(recipe, inputs, workers, space, steps)
        return _judge(recipe, recipe_name, rules, inputs, root, space, steps, decode_examples=True)


def _measure_all(
    recipe: CurateRecipe, inputs: dict[str, str], workers: int | None, space: Workspace, steps: Steps
) -> Path:
    """The set itself, then the evaluation sets that it is compared with; returns the set's image root."""
    settings = recipe.signals.model_copy(update={"workers": workers or recipe.signals.workers})
    roots = {"": str(_measure(recipe.sources, inputs, settings, recipe.remote, space, steps, ""))}
    for evaluation in recipe.contamination.against if recipe.contamination else []:
        name = benchmark_name(evaluation)
        # With embeddings, the dashboard finds the training rows nearest to an evaluation failure.
        pictures = settings.model_copy(update={"nsfw": None})
        there = space.against(name)
        roots[name] = str(_measure([evaluation], inputs, pictures, recipe.remote, there, steps, f"{name}: "))
        _correct(None, {}, there, steps, f"{name}: ")
    for note, value in {"measured": measured_from(recipe), "inputs": inputs, "roots": roots}.items():
        steps.note(note, value)
    return Path(roots[""])


def decide_again(recipe: CurateRecipe, recipe_name: str) -> Outcome:
    """Everything after measuring, from stored signals: opens no image.

    Raises:
        UserError: nothing was measured yet, or not with these sources and signals.
    """
    rules = check_rules(all_rules(recipe), recipe.signals.scores)
    space = Workspace(recipe.folder)
    steps = Steps(space.work)
    if steps.noted("measured") is None:
        raise UserError(f"{space.folder}: nothing is measured there yet; run `curate run {recipe_name}` first")
    if steps.noted("measured") != measured_from(recipe):
        raise UserError(
            f"{space.folder}: the recipe's sources, signals or evaluation sets are not those that were measured;"
            f" run `curate run {recipe_name}`"
        )
    measured = {source.location: steps.noted("inputs")[source.location] for source in all_sources(recipe)}
    inputs = {**measured, **side_inputs(recipe)}
    with sole_use(space):
        (space.folder / MANIFEST).unlink(missing_ok=True)
        root = Path(steps.noted("roots")[""])
        return _judge(recipe, recipe_name, rules, inputs, root, space, steps, decode_examples=False)


def _is_up_to_date(recipe: CurateRecipe, inputs: dict[str, str], space: Workspace, steps: Steps) -> bool:
    """Whether the folder holds the result of this recipe on these inputs, and no image file has changed since."""
    if not is_current(space.folder, recipe=resolved(recipe), inputs=inputs) or not exports_are_there(recipe):
        return False
    if not read_manifest(space.folder, finish_with="").get("card_is_complete"):
        return False  # `decide` wrote the card and opened no picture for it
    if not all_fetched(steps, [f"{name}: " if name else "" for name in steps.noted("roots") or {}]):
        return False
    return bool(steps.noted("images") == _image_stamps(space, steps))


def _image_stamps(space: Workspace, steps: Steps) -> dict[str, str]:
    """Of the set and of each evaluation set: what tells that an image file has changed."""
    roots = steps.noted("roots") or {}
    return {name: image_stamp(space.against(name) if name else space, Path(root)) for name, root in roots.items()}


def _measure(
    sources: Sequence[SourceSettings], inputs: dict[str, str], settings: MeasureSettings,
    remote: RemoteSettings | None, space: Workspace, steps: Steps, label: str,
) -> Path:  # fmt: skip
    """Rows and image signals of one set; returns the folder below which its images lie."""
    root = read_sources(sources, inputs, settings, remote, space, steps, label)
    paths = StoredPaths(space.rows)
    steps.always(f"{label}measure images", lambda: measure_images(paths, root, space.signals, settings))
    return root


def _correct(folder: Path | None, digests: dict[str, str], space: Workspace, steps: Steps, label: str = "") -> None:
    key = [VERSION, stamp(space.rows, below=space.folder), sha256_file(space.paths), digests]
    outputs = [space.samples, space.corrections]
    steps.unless_done(f"{label}corrections", key, outputs, lambda: write_corrected(space, folder))


def _judge(
    recipe: CurateRecipe, recipe_name: str, rules: list[CheckedRule], inputs: dict[str, str], root: Path,
    space: Workspace, steps: Steps, *, decode_examples: bool,
) -> Outcome:  # fmt: skip
    """From stored image signals to the manifest."""
    _correct(recipe.corrections, side_inputs(recipe), space, steps)
    known = [VERSION, stamp(space.samples, *space.image_parts(), below=space.folder)]
    settings = recipe.signals
    steps.unless_done(
        "measure texts",
        [known, SIGNAL_VERSIONS["text"], settings.clip and settings.clip.model_dump(mode="json")],
        [space.text],
        lambda: measure_text(StoredSamples(space.samples), space.signals, settings),
    )
    _score(recipe, known, space, steps)
    _compare(recipe, known, space, steps)
    _split(recipe, known, space, steps)
    steps.always("decide", lambda: decide(space, rules, recipe.losses))
    steps.note("images", _image_stamps(space, steps))
    counts = publish(recipe, recipe_name, rules, inputs, root, space, steps, decode_examples=decode_examples)
    return Outcome(space, counts, steps.seconds)


def _score(recipe: CurateRecipe, known: list[Any], space: Workspace, steps: Steps) -> None:
    """Prompt sets and linear heads on the stored embeddings, where the recipe has any."""
    settings = recipe.signals
    if not settings.scores:
        space.scores.unlink(missing_ok=True)
        return
    heads = {name: sha256_file(path) for name, path in settings.heads.items()}
    key = [known, ZERO_SHOT_VERSION, settings.model_dump(mode="json", include={"clip", "prompts"}), heads]
    key.append({name: one.model_dump(mode="json") for name, one in settings.prompt_sets.items()})
    steps.unless_done("score embeddings", key, [space.scores], lambda: write_scores(space.signals, settings))


def _split(recipe: CurateRecipe, known: list[Any], space: Workspace, steps: Steps) -> None:
    """Splits, where the recipe asks for them."""
    splits = recipe.splits
    if splits is None:
        space.splits.unlink(missing_ok=True)
        return
    match = MatchSettings(**(recipe.duplicates or MatchSettings()).model_dump(include=set(MatchSettings.model_fields)))
    key = [known, splits.model_dump(mode="json"), match.model_dump(mode="json")]
    steps.unless_done("splits", key, [space.splits], lambda: assign_splits(space, splits, match))


def _compare(recipe: CurateRecipe, known: list[Any], space: Workspace, steps: Steps) -> None:
    """Contamination and duplicates, where the recipe asks for them; what an earlier recipe left is removed."""
    contamination, duplicates = recipe.contamination, recipe.duplicates
    if contamination is None:
        space.contamination_rows.unlink(missing_ok=True)
    else:
        sets = [(benchmark_name(one), space.against(benchmark_name(one))) for one in contamination.against]
        key = [
            known,
            contamination.model_dump(mode="json"),
            [stamp(other.samples, below=other.folder) for _, other in sets],
        ]
        outputs = [space.contamination_rows, space.contamination_counts]
        steps.unless_done("contamination", key, outputs, lambda: find_contamination(space, sets, contamination))
    if duplicates is None:
        space.duplicate_images.unlink(missing_ok=True)
        space.duplicate_rows.unlink(missing_ok=True)
    else:
        key = [known, duplicates.model_dump(mode="json")]
        outputs = [space.duplicate_images, space.duplicate_rows]
        steps.unless_done("duplicates", key, outputs, lambda: find_duplicates(space, duplicates))
