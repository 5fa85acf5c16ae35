"""Single functions and classes of a peer's files, so that its other dependencies are not needed."""

from __future__ import annotations

import ast
import logging
import random
import re
import statistics
import string
from collections import defaultdict
from pathlib import Path
from typing import Any, Optional

import numpy as np


def borrowed(file: Path, *names: str, **given: Any) -> dict[str, Any]:
    """Run a file's functions, classes and constants of these names, without decorators and return annotations.

    Args:
        given: further names that their code uses, beside a few modules of the standard library and NumPy.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    tree.body = [
        node
        for node in tree.body
        if getattr(node, "name", None) in names
        or (isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in names)
    ]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            node.decorator_list = []
        if isinstance(node, ast.FunctionDef):
            node.returns = None
    space: dict[str, Any] = {
        "re": re, "np": np, "random": random, "statistics": statistics, "string": string, "Optional": Optional,
        "defaultdict": defaultdict, "eval_logger": logging.getLogger("peer"), **given,
    }  # fmt: skip
    exec(compile(tree, str(file), "exec"), space)  # noqa: S102
    return space
