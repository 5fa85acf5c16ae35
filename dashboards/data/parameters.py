"""A view as URL parameters: those of its fields that are not as at first."""

from __future__ import annotations

from collections.abc import Mapping


def changed(view: object, names: Mapping[str, str]) -> dict[str, str | list[str]]:
    """The URL parameters of a view; what is as at first is left out, as Streamlit's bound widgets do.

    Args:
        view: made of texts, numbers and tuples of texts; its class without arguments is the view at first.
        names: field → URL parameter.
    """
    first = type(view)()
    return {
        name: list(value) if isinstance(value, tuple) else f"{value}"
        for field, name in names.items()
        if (value := getattr(view, field)) != getattr(first, field)
    }
