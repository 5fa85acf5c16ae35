"""The backends behind one shape, and which of them a recipe means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from evalsuite.backends import Reply, Request
from evalsuite.recipe import EvalRecipe

# (prompt, number of images, system message) → the chat, and why it cannot be asked
Render = Callable[[str, int, str | None], tuple[str, str | None]]


@dataclass(frozen=True)
class Backend:
    """A model that can be asked.

    Attributes:
        identity: digest of the model and of the settings that decide its answers.
        label: the model, for people.
        facts: what the manifest keeps about it.
        renderer: makes ``Render``; loads a processor where one is needed.
        replies: (requests, is this key known) → replies as they come. ``batch_size`` is the number
            of rows computed, or requests in flight, at a time; None takes the recipe's.
        repeatable: asked again, it says the same; if not, what is no answer is asked again by every run.
        reachable: it can be asked now.
    """

    identity: str
    label: str
    facts: dict[str, str]
    renderer: Callable[[], Render]
    replies: Callable[[Sequence[Request], Callable[[str], bool], int | None], Iterator[list[Reply]]]
    repeatable: bool
    reachable: bool = True


def choose(recipe: EvalRecipe) -> Backend:
    """The backend of a recipe; no weights are loaded yet.

    Raises:
        UserError: no such checkpoint or adapter, or the server cannot be reached or named.
    """
    if recipe.server is not None:
        from evalsuite.backends.server import served

        return served(recipe, recipe.server)
    from evalsuite.backends.transformers import local

    assert recipe.model is not None
    return local(recipe, recipe.model)
