"""What the last curations said of reviewers' decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dashboards.query.catalog import Folder
from winnow.errors import UserError


def applied(folder: Folder) -> Mapping[str, str]:
    """correction_id → applied, stale, conflict, noted, superseded, undone or elsewhere; {} if none were given.

    Raises:
        UserError: the report is unreadable.
    """
    path = folder.path / "corrections.json"
    if not path.is_file():
        return {}
    try:
        loaded: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); curate again") from error
    lines = loaded.get("lines") if isinstance(loaded, Mapping) else None
    return {str(key): str(value) for key, value in lines.items()} if isinstance(lines, Mapping) else {}
