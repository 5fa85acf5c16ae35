"""How the console scripts end: a clear sentence and exit code 2 for bad input, no traceback."""

from __future__ import annotations

import sys

import typer

from curate.errors import UserError


def run(app: typer.Typer) -> None:
    """Run a typer app; turn UserError into one line on stderr and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
