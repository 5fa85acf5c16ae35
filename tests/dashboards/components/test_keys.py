"""The list of keys, and the tutorial's."""

from __future__ import annotations

import re
from pathlib import Path

from dashboards.components.review import VERDICTS, keyboard_rows

_TUTORIAL = Path(__file__).parents[3] / "docs" / "tutorials" / "review.md"


def test_the_tutorial_has_the_keys_of_the_list() -> None:
    lines = [line.split("|")[1] for line in _TUTORIAL.read_text().splitlines() if line.startswith("| `")]
    told = {key for line in lines for key in re.findall(r"`([^`]+)`", line)}
    own = {key for keys, _ in keyboard_rows() for key in re.findall(r"[A-Z0-9]\b|[+−]", keys)}
    assert told == {key.replace("−", "-") for key in own}
    assert {verdict.key for verdict in VERDICTS} <= told
