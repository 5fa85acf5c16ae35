"""How the console scripts end: a clear sentence and exit code 2 for bad input, no traceback."""

from __future__ import annotations

import sys

import typer

from curate.disk import disk_problem
from winnow.errors import UserError


def run(app: typer.Typer) -> None:
    """Run a typer app; turn UserError, and a full or read-only disk, into one line on stderr and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        print(f"error: {problem}", file=sys.stderr)
        sys.exit(2)
