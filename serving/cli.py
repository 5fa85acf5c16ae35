"""The console script ``serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from winnow import console

app = console.new_app(
    """Serve a trained model, and check that what is served is what was trained.

    The usual order: `serve start` starts an engine with the settings of the training, `serve check` compares its
    answers with the trained model's, `serve guard` puts a policy before it.

    Example: serve start data/exports/demo --engine transformers
    """
)


@app.command()
def start(
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="Folder of `finetune export`, `finetune merge` or `finetune train`."),
    ],
    engine: Annotated[str, typer.Option(help="vllm, lmdeploy or transformers.")],
    own: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS]", help="After `--`: options of the engine, e.g. -- --enforce-eager."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="PORT", min=1, max=65535, help="Port to listen on.")] = 8000,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Permit an address that other machines can reach.")
    ] = False,
    max_length: Annotated[
        int | None,
        typer.Option(min=1, help="Tokens of a conversation. [default: the model's own, but 8192 at most]"),
    ] = None,
    python: Annotated[
        Path | None, typer.Option(help="Interpreter of the environment that holds the engine. [default: on the PATH]")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds until it must answer.")] = 600.0,
    show: Annotated[bool, typer.Option("--print", help="Only print the command.")] = False,
) -> None:
    """Start an engine for a trained model, and stop it cleanly.

    The engine gets the settings of the training: image processor, chat template, length, LoRA or merged weights,
    quantisation. What it cannot load is said before it starts. Ctrl-C or SIGTERM stops it with all its processes.

    Example: serve start data/exports/demo-merged --engine transformers
    """
    from serving.engines import Options
    from serving.start import start_engine

    options = Options(host=host, port=port, python=python, max_length=max_length, own=tuple(own or ()))
    start_engine(model, engine, options, timeout=timeout, show=show, allow_remote=allow_remote)


@app.command()
def check(
    url: Annotated[str, typer.Argument(metavar="URL", help="OpenAI-compatible address, up to and with /v1.")],
    run: Annotated[Path, typer.Option(metavar="RUN", help="Run folder of `finetune train`.")],
    model: Annotated[str | None, typer.Option(help="Model name at the server. [default: the only one]")] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="The export that is served: its quantisation changes greedy answers, and that is let be."),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK", help="Evaluation task. Repeatable. [default: the recipe's eval_tasks]"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Questions of each task at most.")] = 200,
    max_loss: Annotated[float, typer.Option(min=0, help="Points that a task may lose, as measured.")] = 1.0,
    users: Annotated[str, typer.Option(help="Numbers of users for the speed; empty measures none.")] = "1,4,16",
    every: Annotated[float, typer.Option(min=0.01, help="Mean seconds between two questions of a user.")] = 10.0,
    seconds: Annotated[float, typer.Option(min=1, help="Length of the measurement at each number of users.")] = 30.0,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds after which an answer is given up.")] = 120.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn questions and of the load.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder to write. [default: data/checks/RUN]")] = None,
    offline: console.Offline = False,
) -> None:
    """Compare what is served with what was trained.

    Asks the server the run's kept prompts and the evaluation tasks, and compares with the trained model: prompt
    tokens, tokens of images, greedy answers, accuracy with a paired interval. Then measures latency, time to the
    first token and throughput while users ask at random moments. Exits with code 1 if the served model differs.

    Example: serve check http://127.0.0.1:8000/v1 --run data/runs/demo --task easy_vqa
    """
    from serving.check import CheckSettings
    from serving.start import check_server, parse_users

    settings = CheckSettings(
        url=url.rstrip("/"), run=run, model=model, export=export, tasks=tuple(task) if task else None, rows=rows,
        max_loss=max_loss, users=parse_users(users), every=every, seconds=seconds, timeout=timeout, seed=seed,
    )  # fmt: skip
    raise typer.Exit(0 if check_server(settings, out or Path("data/checks") / run.name) else 1)


@app.command()
def guard(
    upstream: Annotated[str, typer.Option(metavar="URL", help="OpenAI-compatible address to forward to.")],
    policy: Annotated[
        Path | None, typer.Option(metavar="FILE", help="YAML file: what is let through; without it the shipped one.")
    ] = None,
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Address; one that others reach needs `keys:` in the policy."),
    ] = "127.0.0.1",
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


if __name__ == "__main__":
    main()
