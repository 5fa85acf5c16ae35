"""Licences of sources, as a dataset card of the Hugging Face hub names them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# The hub's identifiers that data is usually under; any other name goes to `license_name`.
_HUB = {
    "apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0",
    "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "c-uda", "gpl-3.0", "odc-by", "odbl", "pddl", "unlicense", "unknown",
}  # fmt: skip


def license_fields(names: Sequence[str]) -> dict[str, Any]:
    """``license`` and, for names that the hub does not know, ``license_name`` of a card's front matter."""
    known = sorted({name.lower() for name in names if name.lower() in _HUB})
    others = sorted({name for name in names if name.lower() not in _HUB})
    if not names:
        return {}
    found = [*known, *(["other"] if others else [])]
    fields: dict[str, Any] = {"license": found[0] if len(found) == 1 else found}
    if others:
        fields["license_name"] = ", ".join(others)
    return fields
