"""The console script ``finetune``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from winnow import console

if TYPE_CHECKING:
    from finetune.recipe import TrainRecipe

app = console.new_app(
    """Fine-tune a vision-language model on a curated set: QLoRA, loss on answers only, exact resume.

    The usual order: `finetune plan` checks recipe, data and model, `finetune preview` shows what is trained,
    `finetune train` trains, `finetune merge` writes a merged checkpoint. Start from a copy of a recipe that
    `finetune recipes` lists.

    Example: finetune plan my.yaml, then: finetune train my.yaml
    """
)
RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file, e.g. finetune/recipes/demo.yaml.")]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `finetune train`.")]
MaxReject = Annotated[
    float | None, typer.Option(min=0, max=1, help="Largest share of rows that may be rejected; overrides the recipe.")
]


def _load(path: Path, max_reject: float | None) -> TrainRecipe:
    from finetune.recipe import load

    recipe = load(path)
    return recipe if max_reject is None else recipe.model_copy(update={"max_reject": max_reject})


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this recipe.")] = None,
    out: Annotated[Path | None, typer.Option(help="Copy the recipe to this file.")] = None,
) -> None:
    """List the recipes that ship with the GPU memory and model of each; or show or copy one.

    Example: finetune recipes qwen2_5_vl_16gb --out my.yaml
    """
    from finetune.shipped import copy_recipe, recipe_text, shipped_recipes

    if name is not None and out is not None:
        copy_recipe(name, out)
        print(f"written: {out}; set name and data in it, then run: finetune plan {out}")
    elif name is not None:
        print(recipe_text(name), end="")
    else:
        for recipe in shipped_recipes():
            print(f"{recipe.name:21} {recipe.gpu or 'CPU':6} {recipe.model}")


@app.command()
def train(
    recipe: RecipePath,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete an earlier run of this name and start again.")] = False,
    max_reject: MaxReject = None,
    launch: Annotated[
        str | None,
        typer.Option(metavar="KIND", help="Use all GPUs of this machine: ddp, fsdp2, zero2 or zero3."),
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="With --launch: number of processes. [default: one per GPU]")
    ] = None,
    offline: console.Offline = False,
) -> None:
    """Train, and write adapter, losses, metrics and a report.

    After a kill, the same command resumes from the last checkpoint and ends with the same adapter. A finished
    run returns at once.

    For several GPUs use --launch, or torchrun or accelerate launch with a file of finetune/accelerate.

    Example: finetune train finetune/recipes/demo.yaml
    """
    # Read when torch starts its threads, which wait by spinning otherwise: beside another busy
    # process on a small machine, a training step then takes ten times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if launch is not None:
        from finetune.processes import launch as start

        limit = [] if max_reject is None else ["--max-reject", str(max_reject)]
        start(launch, processes, ["finetune", "train", str(recipe), *(["--fresh"] if fresh else []), *limit])
    from finetune.training.run import train as run_training

    run_training(_load(recipe, max_reject), fresh=fresh)


@app.command()
def plan(recipe: RecipePath, max_reject: MaxReject = None, offline: console.Offline = False) -> None:
    """Show what would be trained and at what cost, without loading a weight.

    Prints the recipe with its defaults, how many rows are accepted or rejected and why, which parts of the model
    are trained, the tokens of images, and an estimate of GPU memory. If that is too much, lower batch_size,
    max_pixels or max_length.

    Example: finetune plan my.yaml
    """
    import tempfile

    asked = _load(recipe, max_reject)
    from finetune.training.run import dry_run

    with tempfile.TemporaryDirectory() as folder:
        dry_run(asked, Path(folder))


@app.command()
def preview(
    recipe: RecipePath,
    rows: Annotated[int, typer.Option(min=1, help="Conversations to show of each source.")] = 2,
    html: Annotated[Path | None, typer.Option(help="Also write a page to this file.")] = None,
    offline: console.Offline = False,
) -> None:
    """Show which tokens would be trained, in colour.

    Loads no weight. Green tokens are trained. A summary gives, for every source, the share of trained tokens and
    whether answers end in a stop token.

    Example: finetune preview my.yaml --rows 3 --html preview.html
    """
    import tempfile

    asked = _load(recipe, None)
    from finetune.report.preview import preview as show

    with tempfile.TemporaryDirectory() as folder:
        show(asked, per_source=rows, page=html, rejects=Path(folder) / "rejects.jsonl")


@app.command()
def doctor(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A checkpoint folder or a model of the hub, owner/name.")
    ],
    chat_template: Annotated[
        Path | None, typer.Option(help="Jinja file to use instead of the model's chat template.")
    ] = None,
    offline: console.Offline = False,
) -> None:
    """Check whether a model can be trained and served, and what an image costs.

    Works with any vision-language model of transformers and loads no weight. Prints the parts of the model, then a
    line for each check: quantisation, chat template, mask, stop token, generation prompt, video, audio, tools, vLLM,
    LMDeploy. "note" marks what training works without. Exits with code 1 if training would be refused.

    Example: finetune doctor Qwen/Qwen3-VL-4B-Instruct
    """
    from finetune.doctor import doctor as examine

    if any(finding.state == "refused" for finding in examine(model, chat_template)):
        raise typer.Exit(1)


@app.command()
def merge(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="New folder for the merged checkpoint.")],
    into: Annotated[
        str | None,
        typer.Option(help="Base weights: dequantized or original. [default: the one that is measured to be closer]"),
    ] = None,
    lora_only: Annotated[
        bool,
        typer.Option(
            "--lora-only", help="Keep the LoRA apart, for vLLM: OUT/base holds everything else, OUT/adapter the LoRA."
        ),
    ] = False,
    rows: Annotated[int, typer.Option(min=1, help="Prompts on which both models are compared.")] = 16,
    offline: console.Offline = False,
) -> None:
    """Merge the adapter into a full checkpoint that answers the same.

    The result is reloaded in a new process and compared with the adapter model on held-out rows: logits,
    greedy answers, prompt tokens. The verdict goes to OUT/merge.json; a failed comparison exits with code 2.

    Example: finetune merge data/runs/my --out data/models/my
    """
    from finetune.export.merge import merge as run_merge
    from finetune.export.merge import parse_into

    if lora_only:
        from finetune.export.lora_only import split

        split(run, out, into=parse_into(into), count=rows)
        return
    run_merge(run, out, into=parse_into(into), count=rows)


@app.command()
def export(
    run: RunArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="METHOD", help="gptq, rtn, awq, fp8, int8, openvino-int4, openvino-int8 or merged."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="Folder to write. [default: data/exports/RUN-METHOD]")] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(metavar="TASK", help="Evaluation task. Repeatable. [default: the recipe's eval_tasks]"),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Questions of each task at most.")] = 1000,
    max_loss: Annotated[
        float, typer.Option(min=0, help="Points that a task may lose against the adapter, as measured.")
    ] = 1.0,
    calibration: Annotated[int, typer.Option(min=1, help="Trained rows that gptq and awq are calibrated on.")] = 64,
    group_size: Annotated[
        int | None,
        typer.Option(min=1, help="4-bit weights that share a scale. [default: 128 if every layer allows it, else 32]"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn questions and calibration rows.")] = 0,
    env: Annotated[
        Path | None, typer.Option(help="Environment of the quantiser. [default: .venv-export or .venv-openvino]")
    ] = None,
    offline: console.Offline = False,
) -> None:
    """Quantise a trained model for a server, and measure what that costs.

    The result is loaded in a new process by the library that serves it and compared with the trained model: prompt
    tokens, greedy answers, logits, and the evaluation tasks with a paired interval. A loss beyond --max-loss exits
    with code 2. A killed export goes on where it stopped.

    Quantisers live in environments of their own: `make export-env`, `make openvino-env`.

    Example: finetune export data/runs/my --to gptq --task my-task.yaml
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as for `train`
    from finetune.export.pipeline import Settings, parse_method
    from finetune.export.pipeline import export as run_export

    settings = Settings(
        method=parse_method(to), out=out, tasks=tuple(task) if task else None, rows=rows, max_loss=max_loss,
        calibration=calibration, group_size=group_size, seed=seed, environment=env,
    )  # fmt: skip
    run_export(run, settings)


@app.command()
def parity(
    run: RunArgument,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="http://HOST:PORT/v1 of a server, or a folder.")],
    model: Annotated[str | None, typer.Option(help="Model name at the server. [default: the first it lists]")] = None,
    rows: Annotated[int, typer.Option(min=1, help="How many of the kept prompts to ask.")] = 16,
    out: Annotated[Path | None, typer.Option(help="Also write the verdict to this JSON file.")] = None,
    offline: console.Offline = False,
) -> None:
    """Compare a served or merged model with the trained one.

    Compares prompt tokens and greedy answers on prompts that the run has kept. Exits with code 2 if they differ,
    usually because of another chat template, other image settings or a faulty merge.

    Example: finetune parity data/runs/my http://127.0.0.1:8000/v1
    """
    from finetune.export.parity import parity as run_parity

    run_parity(run, target, model=model, count=rows, out=out)


@app.command()
def score(
    target: Annotated[
        Path, typer.Argument(metavar="RECIPE|RUN", help="A recipe, for its base model; or a run of `finetune train`.")
    ],
    out: Annotated[Path, typer.Option(help="Parquet file to write.")],
    data: Annotated[
        Path | None, typer.Option(help="Rows to score, as `data:` of a recipe. [default: the recipe's]")
    ] = None,
    offline: console.Offline = False,
) -> None:
    """Measure what the picture tells the model about each answer: the picture gain.

    Writes for every row the loss of its answer, the loss without the picture, and their difference. An answer that
    the picture makes less likely is often wrong: name the file in a curation recipe, `answers: {gains: [FILE]}`. A
    killed run goes on where it stopped.

    Example: finetune score data/runs/my --data data/curated/my --out data/runs/my/gains.parquet
    """
    from finetune.score import score as run_score

    run_score(target, data, out)


@app.command("mix-search")
def mix_search(
    recipe: RecipePath,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A=3,B=1",
            help="Weights to try. Repeatable. [default: each data set or source three times as heavy as the others]",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps of each trial.")] = 100,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train finished trials again.")] = False,
    offline: console.Offline = False,
) -> None:
    """Try weights of data sets or sources with short runs, and compare each with equal weights.

    The recipe names held-out rows under `evaluate:`. Prints their loss under each mix, and whether the best one is
    better than equal weights. Writes mix.json and recipe.yaml, the recipe with the best weights, or with equal ones if
    nothing is better. A killed search goes on where it stopped.

    Example: finetune mix-search my.yaml --steps 200 --weights vqa=3,captions=1
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as for `train`
    from finetune.mix import mix_search as search
    from finetune.mix import parse_weights

    search(recipe, [parse_weights(text) for text in weights or []], steps, fresh=fresh)


@app.command()
def push(
    run: RunArgument,
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository of the Hugging Face hub.")],
    private: Annotated[bool, typer.Option("--private", help="Create the repository as a private one.")] = False,
) -> None:
    """Upload an adapter or a merged model to the Hugging Face hub.

    RUN is a run folder, whose adapter is uploaded with its card, processor and input settings, or the folder that
    `finetune merge` wrote. The token comes from HF_TOKEN or `hf auth login`; HF_ENDPOINT
    names another hub.

    Example: finetune push data/runs/my me/my-adapter
    """
    from finetune.export.push import local_base
    from finetune.export.push import push as run_push

    print(run_push(run, name, private=private))
    if base := local_base(run / "adapter") or local_base(run):
        print(
            f"warning: its base is the local folder {base}; to load the adapter elsewhere, pass the base model yourself"
        )


@app.command()
def selftest(
    gpu: Annotated[bool, typer.Option("--gpu", help="Check the GPUs of this machine, not the CPU.")] = False,
    only: Annotated[list[str] | None, typer.Option(metavar="CHECK", help="Run only this check. Repeatable.")] = None,
) -> None:
    """Check with a tiny model that training works on this machine.

    Checks 4-bit, 8-bit and 16-bit weights, resuming after a kill, merging, attention kernels, optimisers and several
    processes. Takes minutes. Exits with code 1 if a check fails.

    Example: finetune selftest --gpu
    """
    from finetune.selftest.selftest import selftest as run_selftest

    if any(result.state == "failed" for result in run_selftest(gpu=gpu, only=only or [])):
        raise typer.Exit(1)


def main() -> None:
    """Console script."""
    console.run(app)


if __name__ == "__main__":
    main()
