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
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file: what is let through; without it the shipped one.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Port to listen on.")] = 8080,
) -> None:
    """Put a policy before a server.

    Example: serve guard --upstream http://127.0.0.1:8000/v1 --policy guard.yaml
    """
    from serving.guard.console import run_guard

    run_guard(upstream, policy, host, port)


@app.command()
def guard_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is; stands in the log.")],
) -> None:
    """Make an API key, and the line of a policy that lets it in.

    Example: serve guard-key alice
    """
    from serving.guard.console import show_key

    show_key(name)


@app.command()
def guard_test(
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file to test; without it the shipped one.")
    ] = None,
    cases: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="JSONL files of cases; without any the shipped ones.")
    ] = None,
    corrections: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Corrected verdicts, as further cases; needs --log.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="The log with contents that they are about.")
    ] = None,
    overhead: Annotated[bool, typer.Option(help="Also measure latency, throughput and streams.")] = True,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the outcome of every case as JSON.")] = None,
) -> None:
    """Attack a guard, and say what it caught and what it costs.

    Example: serve guard-test --no-overhead
    """
    from serving.guard.console import run_test

    run_test(policy, cases or [], corrections, log, overhead=overhead, out=out)


def main() -> None:
    """Entry point of the console script."""
    console.run(app)
