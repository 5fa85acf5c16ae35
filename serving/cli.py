"""The console script ``serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from winnow import console
from winnow.errors import UserError

app = console.new_app(
    """Serve a trained model, and check that what is served is what was trained.

    The usual order: `serve start` starts an engine with the settings of the training, `serve check` compares its
    answers with the trained model's, `serve guard` puts a policy before it.

    Example: serve start data/exports/demo --engine transformers
    """
)


@app.command()
def start(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An exported or merged checkpoint, or a run folder.")],
) -> None:
    """Start an engine for a model, and stop it cleanly.

    Example: serve start data/exports/demo --engine transformers
    """
    raise UserError(f"{model}: not built")


@app.command()
def check(url: Annotated[str, typer.Argument(metavar="URL", help="An OpenAI-compatible address.")]) -> None:
    """Compare what is served with what was trained.

    Example: serve check http://127.0.0.1:8000/v1 --run data/runs/demo
    """
    raise UserError(f"{url}: not built")


@app.command()
def guard(
    upstream: Annotated[str, typer.Option(metavar="URL", help="OpenAI-compatible address to forward to.")],
    policy: Annotated[Path, typer.Option(metavar="FILE", help="YAML file: what is let through.")],
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Put a policy before a server.

    Example: serve guard --upstream http://127.0.0.1:8000/v1 --policy guard.yaml
    """
    raise UserError(f"{upstream}, {policy}, {port}: not built")


@app.command()
def guard_test() -> None:
    """Attack a guard, and say what it caught.

    Example: serve guard-test
    """
    raise UserError("not built")


def main() -> None:
    """Entry point of the console script."""
    console.run(app)
