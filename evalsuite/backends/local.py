"""A checkpoint on this machine as a ``Backend``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

from evalsuite.backends import Reply, Request
from evalsuite.backends.chat import control_token_in, render
from evalsuite.backends.choice import Backend, Render
from evalsuite.backends.identity import model_digest
from evalsuite.backends.model import Loaded, load_model, load_processor
from evalsuite.recipe import EvalRecipe, ModelSettings


def local(recipe: EvalRecipe, settings: ModelSettings) -> Backend:
    """The model that ``AutoModelForImageTextToText`` loads, with its adapter.

    Raises:
        UserError: checkpoint or adapter is missing.
    """
    identity = model_digest(settings)

    @cache
    def processor() -> Any:
        return load_processor(settings)

    @cache
    def loaded() -> Loaded:
        return load_model(settings, processor())

    def renderer() -> Render:
        ours = processor()

        def one(prompt: str, images: int, system: str | None) -> tuple[str, str | None]:
            if token := control_token_in(prompt, ours.tokenizer):
                return "", f"the question holds the control token {token!r}"
            return render(ours, prompt, images, system), None

        return one

    def replies(
        requests: Sequence[Request], known: Callable[[str], bool], batch_size: int | None
    ) -> Iterator[list[Reply]]:
        from evalsuite.backends.transformers import answers

        share = settings.share_prefix and batch_size is None
        return answers(loaded(), requests, batch_size=batch_size or recipe.batch_size, share_prefix=share, known=known)

    return Backend(identity, _label(settings), {"model_digest": identity}, renderer, replies, repeatable=True)


def _label(model: ModelSettings) -> str:
    parts = [model.path]
    if model.adapter:
        parts.append(f"+ {model.adapter}")
    if model.quantization != "none":
        parts.append(f"({model.quantization}{', merged' if model.adapter and model.merge_adapter != 'none' else ''})")
    return " ".join(parts)
