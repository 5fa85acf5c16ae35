"""Write ``requirements.lock``: the installed versions of all that Winnow and the named extras need.

Torch's own dependencies (CUDA, Triton) are left to the index that it comes from, and pinned by torch.

``python docker/lock.py demo serve ocr > docker/requirements.lock``
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OF_TORCH = re.compile(r"nvidia-|triton|cuda-")


def closure(wanted: list[tuple[Requirement, str]]) -> dict[str, str]:
    """Name and installed version of the requirements and of everything that they need."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    while wanted:
        requirement, extra = wanted.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        for asked in ("", *requirement.extras):
            if (name, asked) in seen or OF_TORCH.match(name):
                continue
            seen.add((name, asked))
            found[name] = metadata.version(name)
            wanted += [(Requirement(text), asked) for text in metadata.requires(name) or []]
    return found


if __name__ == "__main__":
    texts = [
        *PROJECT["dependencies"],
        *(text for name in sys.argv[1:] for text in PROJECT["optional-dependencies"][name]),
    ]
    print(f"# By `python docker/lock.py {' '.join(sys.argv[1:])}`; do not edit.")
    for name, version in sorted(closure([(Requirement(text), "") for text in texts]).items()):
        print(f"{name}=={version}")
