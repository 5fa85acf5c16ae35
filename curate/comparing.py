"""What rows are compared with: evaluation sets, each other's pictures, texts and answers. Splits follow from it.

Each step is skipped while nothing that it is made from has changed; what an earlier recipe left is removed.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from curate.answers import neighbours, ocr, suspects
from curate.duplicates.contamination import find_contamination
from curate.duplicates.rows import VERSION as ROWS_VERSION
from curate.duplicates.rows import find_duplicates
from curate.duplicates.semantic import find_semantic
from curate.duplicates.splits import assign_splits
from curate.duplicates.texts.similar_texts import VERSION as TEXTS_VERSION
from curate.duplicates.texts.similar_texts import find_similar_texts, forget_texts
from curate.duplicates.texts.text_leaks import VERSION as LEAKS_VERSION
from curate.duplicates.texts.text_leaks import find_text_leaks
from curate.inputs import gains_of
from curate.kinds import EDITS, limited_search
from curate.readers.ingest import VERSION
from curate.recipe import CurateRecipe
from curate.settings.copies import DuplicateSettings, MatchSettings, sought
from curate.views import TEXT_FIELDS
from curate.workspace import LOOKS, Workspace
from winnow.files import sha256_file
from winnow.parquet.table_parts import Runner
from winnow.run import Stages, file_stats


def known_rows(workspace: Workspace) -> list[Any]:
    """What every comparison depends on: the corrected rows and the measured images."""
    return [VERSION, workspace.corrected.names(), file_stats(*workspace.image_parts(), below=workspace.folder)]


@dataclass(frozen=True)
class Comparison:
    """The comparisons that a recipe asks for.

    Attributes:
        evaluations: name and folder of each evaluation set.
        runner: gives what makes parts.
    """

    recipe: CurateRecipe
    workspace: Workspace
    evaluations: Sequence[tuple[str, Workspace]]
    stages: Stages
    runner: Callable[[], Runner]

    def run(self) -> None:
        """Find evaluation images and texts, near-duplicates and doubtful answers, and assign splits."""
        self._find_contamination()
        self._find_duplicates()
        self._compare_texts()
        self._judge_answers()
        self._find_semantic()
        self._assign_splits()

    def _find_contamination(self) -> None:
        workspace, settings = self.workspace, self.recipe.contamination
        if settings is None:
            workspace.contamination_rows.unlink(missing_ok=True)
            shutil.rmtree(workspace.contaminated, ignore_errors=True)
            return
        sets = self.evaluations
        files = [[other.corrected.names(), file_stats(*other.image_parts(), below=other.folder)] for _, other in sets]
        self.stages.run_if_stale(
            "contamination",
            [known_rows(workspace), settings.model_dump(mode="json"), files],
            [workspace.contamination_rows, workspace.contamination_counts],
            lambda: self._note_limited("contamination", find_contamination(workspace, sets, settings)),
        )

    def _find_duplicates(self) -> None:
        workspace, settings = self.workspace, self.recipe.duplicates
        if settings is None:
            if self.recipe.contamination is None:
                shutil.rmtree(workspace.work / LOOKS, ignore_errors=True)
            workspace.duplicate_images.unlink(missing_ok=True)
            workspace.comparable_rows.unlink(missing_ok=True)
            workspace.edited_links.unlink(missing_ok=True)
            workspace.kept.unlink(missing_ok=True)
            for table in (workspace.duplicate_rows, workspace.row_hashes):
                shutil.rmtree(table.folder, ignore_errors=True)
            return
        self.stages.run_if_stale(
            "duplicates",
            [known_rows(workspace), ROWS_VERSION, settings.model_dump(mode="json")],
            [workspace.duplicate_images, workspace.comparable_rows, workspace.edited_links],
            lambda: self._note_limited("duplicates", find_duplicates(workspace, settings, self.runner())),
        )

    def _note_limited(self, stage: str, images: int) -> None:
        """Keep, and say, how many images the search for edited copies has not compared with all that were like them."""
        self.stages.set(f"{stage} limited", images)
        if images:
            print(f"{stage}: {limited_search(images)}", file=sys.stderr)

    def _compare_texts(self) -> None:
        """Rows whose text is that of another row, or of an evaluation set; needs no image."""
        workspace, settings, against = self.workspace, self.recipe.similar_texts, self.recipe.contamination
        rows = [VERSION, workspace.corrected.names()]
        if settings is None:
            workspace.similar_texts.unlink(missing_ok=True)
            for field in TEXT_FIELDS:
                forget_texts(workspace, field)
        else:
            self.stages.run_if_stale(
                "similar texts",
                [rows, TEXTS_VERSION, settings.model_dump(mode="json", exclude={"keep"})],
                [workspace.similar_texts],
                lambda: find_similar_texts(workspace, settings, self.runner()),
            )
        if against is None or (leaks := against.texts) is None:
            workspace.text_leaks.unlink(missing_ok=True)
            return
        sets = self.evaluations
        files = [[name, other.corrected.names()] for name, other in sets]
        self.stages.run_if_stale(
            "evaluation texts",
            [rows, LEAKS_VERSION, leaks.model_dump(mode="json"), files],
            [workspace.text_leaks],
            lambda: find_text_leaks(workspace, sets, leaks),
        )

    def _judge_answers(self) -> None:
        workspace, recipe = self.workspace, self.recipe
        if recipe.answers is None:
            for made in (workspace.neighbours, workspace.read_answers, workspace.answers):
                made.unlink(missing_ok=True)
            return
        k, gains, below = recipe.answers.neighbours, gains_of(recipe), workspace.folder
        key = [known_rows(workspace), file_stats(*workspace.model_parts(), workspace.duplicate_images, below=below)]
        self.stages.run_if_stale(
            "compare answers",
            [*key, neighbours.VERSION, k],
            [workspace.neighbours],
            lambda: neighbours.write_neighbours(workspace, k),
        )
        read = sorted(workspace.model_folder("ocr").glob("part-*.parquet"))
        self.stages.run_if_stale(
            "read answers",
            [known_rows(workspace), ocr.VERSION, file_stats(*read, below=below)],
            [workspace.read_answers],
            lambda: ocr.write_read_answers(workspace),
        )
        made_here = [
            suspects.VERSION,
            workspace.text.names(),
            file_stats(workspace.neighbours, workspace.read_answers, workspace.comparable_rows, below=below),
        ]
        self.stages.run_if_stale(
            "judge answers",
            [
                known_rows(workspace),
                suspects.VERSION,
                made_here,
                [sha256_file(path) for path in (*recipe.losses, *gains)],
            ],
            [workspace.answers],
            lambda: suspects.write_answers(workspace, recipe.losses, gains),
        )

    def _find_semantic(self) -> None:
        workspace, settings = self.workspace, self.recipe.semantic
        if settings is None:
            workspace.semantic_images.unlink(missing_ok=True)
            return
        # Not `keep`, which the rule reads.
        made_from = [
            known_rows(workspace),
            settings.cosine,
            file_stats(*workspace.model_parts(), below=workspace.folder),
        ]
        self.stages.run_if_stale(
            "semantic", made_from, [workspace.semantic_images], lambda: find_semantic(workspace, settings)
        )

    def _assign_splits(self) -> None:
        workspace, settings = self.workspace, self.recipe.splits
        if settings is None:
            workspace.splits.unlink(missing_ok=True)
            return
        duplicates = self.recipe.duplicates or DuplicateSettings()
        kinds = sorted(set(sought(duplicates.kinds)) & set(EDITS))
        match = MatchSettings(**duplicates.model_dump(include=set(MatchSettings.model_fields)))
        self.stages.run_if_stale(
            "splits",
            [known_rows(workspace), settings.model_dump(mode="json"), match.model_dump(mode="json"), kinds],
            [workspace.splits],
            lambda: assign_splits(workspace, settings, match, kinds, self.runner()),
        )
