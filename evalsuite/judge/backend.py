"""The models that judge: which one judges each task, opened like the model of a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evalsuite.backends import Backend
from evalsuite.judge.settings import JudgeSettings
from evalsuite.recipe import EvalRecipe
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.vlm.models import check_model_name


@dataclass(frozen=True)
class Judge:
    """The judge of a task.

    Attributes:
        settings: with its model.
        backend: None if its server does not answer; then ``why_not`` says so.
    """

    settings: JudgeSettings
    backend: Backend | None
    why_not: str = ""

    def facts(self, failed: int) -> dict[str, Any]:
        """What the manifest keeps of it, with the number of questions that never reached it."""
        server = self.settings.server.model_dump(mode="json") if self.settings.server else None
        assert self.backend is not None
        return {"label": self.backend.label, "server": server, "failed": failed, **self.backend.facts}


def open_judges(folder: Path, settings: Mapping[str, JudgeSettings]) -> dict[str, Judge]:
    """The judge of each task; no weights are loaded yet, and one model is opened once.

    Args:
        folder: of the evaluation; a finished one knows judges whose servers do not answer now.

    Raises:
        UserError: a task's judge has no model, or it cannot work: no such checkpoint, a refused key …
    """
    opened: dict[str, tuple[Backend | None, str]] = {}
    judges = {}
    for task, one in settings.items():
        if one.model is None and one.server is None:
            raise UserError(
                f"task {task}: no model is named to judge it; give one in the recipe, e.g. "
                "`judge: {server: {url: http://127.0.0.1:8000/v1}}` or `judge: {model: {path: FOLDER}}`"
            )
        same = digest_of(one.model_dump(mode="json", include={"model", "server", "batch_size"}))
        if same not in opened:
            opened[same] = _open(folder, one)
        judges[task] = Judge(one, *opened[same])
    return judges


def _open(folder: Path, settings: JudgeSettings) -> tuple[Backend | None, str]:
    recipe = EvalRecipe(
        name="judge", out=folder, model=settings.model, server=settings.server, batch_size=settings.batch_size,
        tasks=["judge"],
    )  # fmt: skip
    if settings.server is None:
        from evalsuite.backends.transformers import local_backend

        assert settings.model is not None
        check_model_name(settings.model.path)
        return local_backend(recipe, settings.model), ""
    from evalsuite.backends.server import server_backend

    try:
        return server_backend(recipe, settings.server), ""
    except UserError as error:
        if isinstance(error.__cause__, ConnectionError):
            return None, str(error)
        raise
