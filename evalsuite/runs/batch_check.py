"""Whether the batch size changes answers: the same rows one at a time and in the batches of the run."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evalsuite.backends import Backend, Reply, Request
from evalsuite.recipe import EvalRecipe
from evalsuite.runs.requests import build_requests, distinct_requests, hash_images, select_backend
from evalsuite.runs.tasks import load_tasks
from winnow.errors import UserError
from winnow.progress import Bar
from winnow.recipe import load_recipe

_SHOWN = 20


def check_batches(path: Path, samples: int) -> dict[str, Any]:
    """Ask ``samples`` rows of a recipe at batch size 1 and at its own, and say which answers differ.

    Nothing is stored, and nothing stored is used.

    Raises:
        UserError: recipe, task, model or server is missing or wrong.
    """
    recipe = load_recipe(path, EvalRecipe)
    backend = select_backend(recipe)
    render = backend.renderer()
    tasks = load_tasks(recipe).values()
    asked = [entry for task in tasks for entry in build_requests(task, hash_images(task), render, backend.identity)]
    requests = distinct_requests(asked)
    if not requests:
        raise UserError(f"{path}: no row of its tasks can be asked")
    chosen = draw_requests(requests, samples, recipe.seed)
    whole = _ask(backend, chosen, None, f"batches of {batch_size(recipe)}")
    return compare_batches(backend, recipe, chosen, whole, ids_of(asked))


def compare_batches(
    backend: Backend, recipe: EvalRecipe, chosen: Sequence[Request], whole: Mapping[str, Reply], ids: Mapping[str, str]
) -> dict[str, Any]:
    """Ask ``chosen`` one at a time and compare with their replies in ``whole``.

    Args:
        ids: request key → sample id.
    """
    alone = _ask(backend, chosen, 1, "one at a time")
    both = [request.key for request in chosen if request.key in alone and request.key in whole]
    pairs = [(ids[key], alone[key], whole[key]) for key in both]
    answered = [(name, a, b) for name, a, b in pairs if "error" not in (a.finish_reason, b.finish_reason)]
    differ = [(name, a, b) for name, a, b in answered if (a.raw, a.finish_reason) != (b.raw, b.finish_reason)]
    return {
        "rows": len(answered),
        "failed": len(chosen) - len(answered),
        "batch_size": batch_size(recipe),
        "differ": len(differ),
        "examples": [{"sample_id": name, "alone": a.raw, "in_batch": b.raw} for name, a, b in differ[:_SHOWN]],
    }


def batch_size(recipe: EvalRecipe) -> int:
    """Rows computed, or at most asked, at a time."""
    return recipe.server.max_concurrency if recipe.server else recipe.batch_size


def draw_requests(requests: Sequence[Request], count: int, seed: int) -> list[Request]:
    """About ``count`` requests: all questions about images drawn at random, so that batches share images as in
    the run."""
    groups: dict[tuple[str, ...], list[Request]] = {}
    for request in requests:
        groups.setdefault(request.image_keys, []).append(request)
    listed = list(groups.values())
    random.Random(seed).shuffle(listed)
    drawn: list[Request] = []
    for group in listed:
        if len(drawn) >= count:
            break
        drawn += group
    return drawn[:count]


def ids_of(asked: Sequence[Any]) -> dict[str, str]:
    """Request key → id of the first row with that request."""
    named: dict[str, str] = {}
    for entry in asked:
        if entry.request:
            named.setdefault(entry.request.key, entry.row.sample_id)
    return named


def _ask(backend: Backend, requests: Sequence[Request], size: int | None, label: str) -> dict[str, Reply]:
    replies: dict[str, Reply] = {}
    with Bar(label, len(requests)) as bar:
        for part in backend.replies(requests, _unknown, size):
            replies.update({reply.key: reply for reply in part})
            bar.advance(len(part))
    return replies


def _unknown(key: str) -> bool:
    return False
