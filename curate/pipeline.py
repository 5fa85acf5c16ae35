"""A curation from sources to dataset card: read, measure, correct, compare, decide, publish.

A run may be killed at any point: the next one continues where it stopped and ends with the same bytes.
"""

from __future__ import annotations

import functools
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.comparing import Comparison, known_rows
from curate.engines import engine_on, runner_of
from curate.engines.far import Sight
from curate.exports.export import export
from curate.exports.rows import ONE_SPLIT, Curated
from curate.inputs import (
    all_sources,
    changed_images,
    check_inputs,
    correction_inputs,
    decision_inputs,
    edits_sought,
    input_digests,
    measured_from,
    resolved,
    source_inputs,
)
from curate.measure.embeddings import write_scores
from curate.measure.image_models import forget, measure_with
from curate.measure.images import measure_images
from curate.measure.itm import matcher_name
from curate.measure.mirrored import Mirrored
from curate.measure.models import check_models
from curate.measure.pairs import write_pairs
from curate.measure.store import Store
from curate.measure.texts import TEXT_VERSIONS, measure_text
from curate.measure.unmeasured import why_not_measured
from curate.readers.base import folder_of
from curate.readers.below_root import Opened
from curate.readers.images.objects import bring_images, is_stored
from curate.readers.images.store import ImageStore
from curate.readers.ingest import (
    VERSION,
    Asked,
    all_fetched,
    facts_of,
    image_root,
    image_roots,
    keep_roots,
    read_sources,
    write_rows,
)
from curate.recipe import CurateRecipe, all_rules
from curate.report.card import write_card
from curate.report.contaminated import write_contamination_report
from curate.report.counts import count_rows
from curate.report.results import write_results
from curate.report.summaries import summarise
from curate.rules.checked import CheckedRule
from curate.rules.corrected import write_corrected
from curate.rules.decide import check_on_rows, check_rules, decide
from curate.seal import break_seal, damaged_measurements, heal, write_seal
from curate.settings.signals import MeasureSettings
from curate.settings.sources import SourceSettings, benchmark_name
from curate.signals import IMAGE_MODELS, SIGNALS
from curate.signals.clip import ZERO_SHOT
from curate.workspace import StoredPaths, Workspace, copy_measurements, sole_use
from winnow.digests import Digests
from winnow.errors import UserError
from winnow.files import sha256_file
from winnow.parquet.table_parts import Runner
from winnow.remote import addresses, mirror_files, storage
from winnow.remote.addresses import local
from winnow.remote.published import bring, published
from winnow.run import MANIFEST, Stages, is_current, read_manifest, write_manifest
from winnow.text import some_of


@dataclass(frozen=True)
class Outcome:
    """What a run left.

    Attributes:
        counts: of ``curate.report.counts.count_rows``.
        seconds: wall time of the stages that ran; empty if everything was up to date.
        not_measured: a sentence about images that storage or machines have failed; None if there are none.
    """

    workspace: Workspace
    counts: dict[str, Any]
    seconds: dict[str, float]
    not_measured: str | None = None


def run(recipe: CurateRecipe, recipe_name: str, workers: int | None = None) -> Outcome:
    """Make the curated folder of a recipe, or bring it up to date.

    Args:
        recipe_name: how the card calls the recipe.
        workers: processes that decode; changes no result.

    Raises:
        UserError: bad input. The folder then has no manifest, or that of an earlier, finished run.
    """
    storage.look_again()
    rules = check_rules(all_rules(recipe), recipe.signals.scores)
    check_inputs(recipe)
    workspace = Workspace(recipe.folder)
    with sole_use(workspace), published(workspace.folder) as save:
        damaged = _heal(workspace)
        inputs = _read_inputs(recipe, workspace)
        curation = Curation(recipe, recipe_name, rules, inputs, workspace, Stages(workspace.work), save)
        if curation.is_up_to_date() and curation.images_are_as_measured():
            return Outcome(workspace, read_manifest(workspace.folder, finish_with="")["counts"], {})
        if curation.stages.get("measured") != measured_from(recipe):
            check_models(recipe.signals)
        workspace.manifest.unlink(missing_ok=True)
        before = break_seal(workspace)
        with engine_on(recipe.signals.engine, workers or recipe.signals.workers):
            curation.read()
            save()
            if damaged:
                curation.note_times()
            check_on_rows(workspace.rows, rules, recipe.signals.scores)
            curation.measure(workers)
            save()
            outcome = curation.finish(decode_examples=True)
        write_seal(workspace, before)
        return outcome


def decide_again(recipe: CurateRecipe, recipe_name: str, into: Path | None = None) -> Outcome:
    """Everything after measuring, from stored signals: opens no image.

    Args:
        into: leave the recipe's folder as it is and decide in this one, without the recipe's exports.

    Raises:
        UserError: nothing was measured yet, or not with these sources and signals; ``into`` cannot be used.
    """
    rules = check_rules(all_rules(recipe), recipe.signals.scores)
    if damaged := damaged_measurements(Workspace(recipe.folder)):
        raise UserError(
            f"{recipe.folder}: is damaged ({some_of(damaged)}); make it again with `curate run {recipe_name}`"
        )
    if into:
        into = local(into)
        bring(recipe.folder)
        copy_measurements(Workspace(recipe.folder), Workspace(into))
        recipe = recipe.model_copy(update={"out": into, "exports": []})
    workspace = Workspace(recipe.folder)
    with sole_use(workspace), published(workspace.folder) as save:
        stages = Stages(workspace.work)
        if stages.get("measured") is None:
            raise UserError(f"{workspace.folder}: nothing is measured there yet; run `curate run {recipe_name}` first")
        lacking = set(stages.get("no_keypoints") or ()) & set(_with_keypoints(recipe))
        if lacking or stages.get("measured") != measured_from(recipe):
            raise UserError(
                f"{workspace.folder}: the recipe's sources, signals or evaluation sets are not those that were"
                f" measured; run `curate run {recipe_name}`"
            )
        measured = {source.location: stages.get("inputs")[source.location] for source in all_sources(recipe)}
        check_on_rows(workspace.rows, rules, recipe.signals.scores)
        workspace.manifest.unlink(missing_ok=True)
        before = break_seal(workspace)
        inputs = {**measured, **decision_inputs(recipe)}
        outcome = Curation(recipe, recipe_name, rules, inputs, workspace, stages, save).finish(decode_examples=False)
        write_seal(workspace, before)
        return outcome


def try_rules(recipe: CurateRecipe, sources: Opened, folder: Path) -> dict[str, Any]:
    """Measure and judge some rows in a folder that is thrown away; returns the counts.

    Args:
        sources: in place of the recipe's.
    """
    workspace = Workspace(folder)
    rules = check_rules(all_rules(recipe), recipe.signals.scores)
    curation = Curation(recipe, "", rules, {}, workspace, Stages(workspace.work))
    asked = Asked(workspace.read, ImageStore(folder), recipe.signals.max_bytes)
    root, facts = write_rows(sources, workspace.rows, asked, label="read sample")
    keep_roots(curation.stages, root, sources)
    curation.measure()
    curation.correct()
    curation.compare()
    curation.decide()
    return count_rows(workspace, summarise(workspace, recipe.seed), rules, facts)


def compare_sets(recipe: CurateRecipe, workers: int | None = None) -> str | None:
    """Read and measure the set and its evaluation sets, and find what they share; decide nothing.

    Args:
        workers: processes that decode; changes no result.

    Returns:
        A sentence about images that storage or machines have failed; None if there are none.

    Raises:
        UserError: bad input, or something cannot be written.
    """
    storage.look_again()
    workspace = Workspace(recipe.folder)
    with sole_use(workspace):
        _heal(workspace)
        before = break_seal(workspace)
        inputs = _read_inputs(recipe, workspace)
        curation = Curation(recipe, "", [], inputs, workspace, Stages(workspace.work))
        curation.read()
        curation.measure(workers)
        curation.correct()
        curation.compare()
        write_seal(workspace, before)
        return curation.why_not_measured()


def _heal(workspace: Workspace) -> list[str]:
    if damaged := heal(workspace):
        print(
            f"{addresses.shown(workspace.folder)}: making again what is damaged or gone: {some_of(damaged)}",
            file=sys.stderr,
        )
    return damaged


def _read_inputs(recipe: CurateRecipe, workspace: Workspace) -> dict[str, str]:
    digests = Digests(workspace.digests)
    inputs = input_digests(recipe, digests)
    digests.save()
    return inputs


def _with_keypoints(recipe: CurateRecipe) -> list[str]:
    return list(itertools.compress(("set", "evaluation"), edits_sought(recipe)))


@dataclass(frozen=True)
class ImageSet:
    """A set of rows whose images are measured: the curated one, or an evaluation set that it is compared with.

    Attributes:
        name: of the evaluation set; empty for the curated set.
    """

    name: str
    sources: Sequence[SourceSettings]
    signals: MeasureSettings
    workspace: Workspace

    @property
    def label(self) -> str:
        """Opens the names of its stages."""
        return f"{self.name}: " if self.name else ""


@dataclass(frozen=True)
class Curation:
    """A recipe at work in its folder. The methods are its steps, in order; a step that is done is skipped.

    Attributes:
        rules: the recipe's rules with the built-in ones, checked.
        inputs: digests of everything that it is made from.
        save: publishes what is done of a result on object storage.
    """

    recipe: CurateRecipe
    recipe_name: str
    rules: list[CheckedRule]
    inputs: dict[str, str]
    workspace: Workspace
    stages: Stages
    save: Callable[[], None] = lambda: None

    def is_up_to_date(self) -> bool:
        """Whether the folder holds the result of this recipe on these inputs, if no image file has changed since."""
        folder = self.workspace.folder
        if not is_current(folder, recipe=resolved(self.recipe), inputs=self.inputs) or not self._exports_are_complete():
            return False
        made = read_manifest(folder, finish_with="")
        if made.get("readers") != VERSION:
            return False
        if not made.get("card_is_complete"):
            return False  # `decide` wrote the card and opened no image for it
        if self.stages.get("measured") is None or not all_fetched(self.stages, [each.label for each in self._sets()]):
            return False
        if any(each.workspace.model_failures(name).is_file() for each in self._sets() for name in IMAGE_MODELS):
            return False  # another run may read what a model could not
        return not self.why_not_measured()

    def images_are_as_measured(self) -> bool:
        """Whether no image file has changed; then the times of those whose bytes had to be read for that are noted."""
        due = []
        for each in self._sets():
            root, stored = self._root(each), self._stored(each)
            changed, read = changed_images(each.workspace, root, each.signals.max_bytes, stored)
            if changed:
                return False
            due += [each] if read else []
        if due:
            before = break_seal(self.workspace)
            for each in due:
                Store(each.workspace.signals).note_times(self._root(each).resolve())
            write_seal(self.workspace, before)
        return True

    def read(self) -> None:
        """Read the rows of the set and of each evaluation set; images that are not files yet become files."""
        self.stages.set("measured", None)
        for each in self._sets():
            read_sources(
                each.sources, self.inputs, each.signals, self.recipe.remote, each.workspace, self.stages, each.label,
                self._runner(each.sources),
            )  # fmt: skip
            if any(addresses.url_of(root) for root in image_roots(self.stages, each.label)):
                self._bring_images(each)
        if any(f"{each.label}read" in self.stages.seconds for each in self._sets()):
            self._check_sources()

    def _runner(self, sources: Sequence[SourceSettings] = ()) -> Runner:
        """Makes parts, from files of these sources too."""
        signals = self.recipe.signals
        read_from = [folder_of(source) for source in sources if not addresses.is_remote(source.location)]
        return runner_of(signals.engine, signals.workers, self.workspace.folder, read_from)

    def _mirrored(self, of: ImageSet) -> Mirrored | None:
        """Brings images from object storage to the machines of a cluster."""
        stored = any(addresses.url_of(root) for root in image_roots(self.stages, of.label))
        if of.signals.engine == "local" or not stored:
            return None
        return Mirrored(Sight.marked(addresses.cache_folder()), self._stored(of), of.signals.max_bytes)

    def _bring_images(self, of: ImageSet) -> None:
        """Fetch the images that lie on object storage; what could not be had is tried again by the next run."""
        paths, label = StoredPaths(of.workspace.rows), f"{of.label}fetch images"
        counts = Counter[str]()
        bring = functools.partial(bring_images, paths, self._stored(of), of.signals.max_bytes, label)
        self.stages.run(label, lambda: counts.update(bring()))
        before = self.stages.get(f"{of.label}unfetched") or 0
        self.stages.set(f"{of.label}unfetched", before + counts["remote_unavailable"])

    def note_times(self) -> None:
        """Keep what is known of images that were lost from a store and are there again."""
        for each in self._sets():
            if each.workspace.paths.is_file():
                Store(each.workspace.signals).note_times(self._root(each).resolve())

    def _check_sources(self) -> None:
        """Refuse rows that were read while their source changed.

        Raises:
            UserError: a source is no longer what it was before it was read.
        """
        digests = Digests(self.workspace.digests)
        now = source_inputs(self.recipe, digests)
        changed = [name for name, digest in now.items() if self.inputs.get(name) != digest]
        if changed:
            for each in self._sets():
                self.stages.set(f"{each.label}read", None)
            raise UserError(f"{changed[0]}: changed while it was read; run it again when nothing writes there")
        digests.save()

    def measure(self, workers: int | None = None) -> None:
        """Measure the images of the set and of each evaluation set."""
        for each in self._sets():
            settings = each.signals.model_copy(update={"workers": workers or each.signals.workers})
            paths, out = StoredPaths(each.workspace.rows), each.workspace.signals
            roots, root = image_roots(self.stages, each.label), self._root(each)
            edits = edits_sought(self.recipe)[bool(each.name)]
            read_from: dict[str, Any] = {"sources": roots, "mirrored": self._mirrored(each)}
            step = functools.partial(measure_images, paths, root, out, settings, edits=edits, **read_from)
            self.stages.run(f"{each.label}measure images", step)
            for name, model in IMAGE_MODELS.items():
                if getattr(settings, name) and (model.for_evaluation or not each.name):
                    read = functools.partial(measure_with, model, each.workspace, root, settings, **read_from)
                    self.stages.run(f"{each.label}{name}", read)
                else:
                    forget(model, each.workspace)
            if each.name:
                self._apply_corrections(each, None, {})
        self.stages.set("measured", measured_from(self.recipe))
        self.stages.set("no_keypoints", sorted({"set", "evaluation"} - set(_with_keypoints(self.recipe))))
        self.stages.set("inputs", self.inputs)

    def finish(self, *, decode_examples: bool) -> Outcome:
        """All steps that follow measuring."""
        self.correct(score_pairs=decode_examples)
        self.save()
        self.compare()
        self.save()
        self.decide()
        counts = self.publish(decode_examples=decode_examples)
        return Outcome(self.workspace, counts, self.stages.seconds, self.why_not_measured())

    def why_not_measured(self) -> str | None:
        """A sentence about images of the set or of an evaluation set that are not measured; None without any."""
        return why_not_measured(each.workspace for each in self._sets())

    def correct(self, *, score_pairs: bool = True) -> None:
        """Apply reviewers' corrections, then measure what depends on the text of a row, or only on embeddings.

        Args:
            score_pairs: open images where an image–text matching model has not seen a pair; else it has no score.
        """
        curated, *_ = self._sets()
        self._apply_corrections(curated, self.recipe.corrections, correction_inputs(self.recipe))
        workspace, settings = self.workspace, self.recipe.signals
        clip = settings.clip and settings.clip.model_dump(mode="json")
        self.stages.run_if_stale(
            "measure texts",
            [known_rows(self.workspace), TEXT_VERSIONS, clip, settings.language],
            [workspace.text.state],
            lambda: measure_text(workspace.corrected, workspace.signals, settings, self._runner()),
        )
        self._score_embeddings()
        self._match_pairs(curated, score_new=score_pairs)

    def compare(self) -> None:
        """Find evaluation images and texts, near-duplicates and doubtful answers, and assign splits, where asked for.

        What an earlier recipe left is removed.
        """
        _, *evaluations = self._sets()
        sets = [(each.name, each.workspace) for each in evaluations]
        Comparison(self.recipe, self.workspace, sets, self.stages, self._runner).run()

    def decide(self) -> None:
        """Run the rules."""
        recipe = self.recipe
        self.stages.run("decide", lambda: decide(self.workspace, self.rules, recipe.losses, recipe.duplicates))

    def publish(self, *, decode_examples: bool, selection: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Write everything that follows from the decisions, the manifest last; returns the counts.

        Args:
            decode_examples: make thumbnails of the card's examples; else only those that exist are shown small.
            selection: what ``curate.selection`` has chosen, for the manifest.
        """
        workspace, recipe, stages = self.workspace, self.recipe, self.stages
        curated, *_ = self._sets()
        root = self._root(curated)
        splits = tuple(recipe.splits.shares) if recipe.splits else ()
        results: dict[Path, str] = {}
        stages.run("write", lambda: results.update(write_results(workspace, splits)))
        outputs = [*results, *write_contamination_report(workspace)]
        summary = summarise(workspace, recipe.seed)
        counts = count_rows(workspace, summary, self.rules, facts_of(stages))
        asked = {"duplicates": recipe.duplicates, "contamination": recipe.contamination}
        if limited := {name: n for name in asked if asked[name] and (n := stages.get(f"{name} limited"))}:
            counts["limited"] = limited
        shown = write_card(
            workspace, recipe, self.recipe_name, self.rules, counts, summary.examples, root,
            decode_examples=decode_examples,
        )  # fmt: skip
        outputs += [workspace.card, *shown.files]
        exported = self.export_all()
        found = [
            workspace.decisions, workspace.corrections, workspace.duplicate_images, workspace.semantic_images,
            workspace.paths, workspace.text.state, *workspace.text.files(), workspace.scores, workspace.itm,
            workspace.answers,
        ]  # fmt: skip
        write_manifest(
            workspace.folder,
            stage="curate",
            recipe=resolved(recipe),
            inputs=self.inputs,
            outputs=[
                *outputs,
                *(path for path in found if path.is_file()),
                *workspace.image_parts(),
                *workspace.model_parts(),
            ],
            known=results,
            counts=counts,
            seconds=stages.seconds,
            seeds={"seed": recipe.seed, **({"splits": recipe.splits.seed} if recipe.splits else {})},
            extra={
                "image_root": addresses.shown(root),
                "licenses": {
                    source.source or source.location: source.license for source in recipe.sources if source.license
                },
                "exports": exported,
                "card_is_complete": shown.complete,
                "recipe_file": self.recipe_name,
                "readers": VERSION,
                **({"selection": selection} if selection else {}),
            },
        )
        return counts

    def export_all(self) -> list[str]:
        """Write the exports of the recipe; returns their folders."""
        recipe = self.recipe
        curated, *_ = self._sets()
        rows = Curated(
            folder=self.workspace.folder,
            name=recipe.name,
            root=self._root(curated),
            licenses=tuple(dict.fromkeys(source.license for source in recipe.sources if source.license)),
            splits=tuple(recipe.splits.shares) if recipe.splits else (ONE_SPLIT,),
            sources=tuple(recipe.sources),
            inputs=self.inputs,
        )
        for settings in recipe.exports:
            self.stages.run(f"export {settings.to}", functools.partial(export, rows, settings))
        return [addresses.shown(folder) for folder in self._export_folders()]

    def _export_folders(self) -> list[Path]:
        exports = self.workspace.folder / "exports"
        return [local(settings.out) if settings.out else exports / settings.to for settings in self.recipe.exports]

    def _exports_are_complete(self) -> bool:
        return all(mirror_files.exists(folder / MANIFEST) for folder in self._export_folders())

    def _sets(self) -> list[ImageSet]:
        """The curated set, then the evaluation sets."""
        recipe = self.recipe
        # With embeddings, the dashboard finds the training rows nearest to an evaluation failure.
        signals = recipe.signals.model_copy(update={"nsfw": None})
        evaluations = [
            ImageSet(benchmark_name(source), [source], signals, self.workspace.against(benchmark_name(source)))
            for source in (recipe.contamination.against if recipe.contamination else [])
        ]
        return [ImageSet("", recipe.sources, recipe.signals, self.workspace), *evaluations]

    def _root(self, of: ImageSet) -> Path:
        """The folder that its image paths are relative to, as ``read_sources`` has found it."""
        return image_root(self.stages, of.label)

    def _stored(self, of: ImageSet) -> Callable[[str], str | None]:
        """The address of an image of the set that lies on object storage."""
        return is_stored(self._root(of), image_roots(self.stages, of.label), of.workspace.folder)

    def _apply_corrections(self, of: ImageSet, folder: Path | None, digests: dict[str, str]) -> None:
        workspace = of.workspace
        key = [VERSION, workspace.rows.names(), sha256_file(workspace.paths), digests]
        self.stages.run_if_stale(
            f"{of.label}corrections",
            key,
            [workspace.corrected.state, workspace.corrections],
            lambda: write_corrected(workspace, folder, self._runner()),
        )

    def _score_embeddings(self) -> None:
        """Prompt sets and linear heads on the stored embeddings."""
        workspace, settings = self.workspace, self.recipe.signals
        if not settings.scores:
            workspace.scores.unlink(missing_ok=True)
            return
        key = [
            known_rows(self.workspace),
            ZERO_SHOT.version,
            settings.model_dump(mode="json", include={"clip", "prompts"}),
            {name: [head.model_dump(mode="json"), sha256_file(head.file)] for name, head in settings.heads.items()},
            {name: prompts.model_dump(mode="json") for name, prompts in settings.prompt_sets.items()},
        ]
        self.stages.run_if_stale(
            "score embeddings", key, [workspace.scores], lambda: write_scores(workspace.signals, settings)
        )

    def _match_pairs(self, of: ImageSet, *, score_new: bool) -> None:
        """Scores of the second model that reads image and text."""
        workspace, settings = self.workspace, self.recipe.signals
        if settings.itm is None:
            workspace.itm.unlink(missing_ok=True)
            return
        key = [known_rows(self.workspace), SIGNALS["itm"].version, matcher_name(settings.itm), score_new]
        match = functools.partial(
            write_pairs, workspace, self._root(of), settings, score_new=score_new,
            sources=image_roots(self.stages, of.label), mirrored=self._mirrored(of),
        )  # fmt: skip
        self.stages.run_if_stale("match images and texts", key, [workspace.itm], match)
