"""The backend that a recipe names."""

from __future__ import annotations

from evalsuite.backends import Backend
from evalsuite.recipe import EvalRecipe


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
