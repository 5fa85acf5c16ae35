"""Loops over pixels, compiled for this machine's processor by numba.

Each module is imported by the function that needs it, in the worker that measures: numba takes a third of a second to
load. What is compiled is kept beside the source or, where that cannot be written, in the user's cache; only the first
run on a machine compiles, which takes some seconds. A compiled function calls no compiled function of another module,
since what is kept would not notice that the other has changed.

Arrays are handed over contiguous: of another layout a function is compiled once more.

Arithmetic is in whole numbers, or in floats whose sums are taken in the order that is written, so that the values are
the same on every processor.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(kernel: Kernel) -> Kernel:
    """The function as machine code."""
    import numba

    try:
        made = numba.njit(cache=True, error_model="numpy")(kernel)
    except RuntimeError:  # no folder to keep it in
        made = numba.njit(error_model="numpy")(kernel)
    return cast(Kernel, made)
