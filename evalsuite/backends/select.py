"""The backend that a recipe names."""

from __future__ import annotations

from evalsuite.backends import Backend
from evalsuite.recipe import EvalRecipe


def select_backend(recipe: EvalRecipe) -> Backend:
    """The backend of a recipe; no weights are loaded yet.

    Raises:
        UserError: no such checkpoint or adapter, or the server cannot be reached or named.
    """
    if recipe.server is not None:
        from evalsuite.backends.server import server_backend

        return server_backend(recipe, recipe.server)
    from evalsuite.backends.transformers import local_backend

    assert recipe.model is not None
    return local_backend(recipe, recipe.model)
