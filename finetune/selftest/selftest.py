"""Trains a tiny model in each of the ways that this machine offers and checks what comes out.

Every check starts the commands that users start, in processes of their own: a kernel that crashes fails its check and
no other.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from rich.console import Console
from rich.table import Table

from finetune.selftest.toy import save_data, save_model
from winnow.errors import UserError, did_you_mean
from winnow.vlm.models import prepare_libraries

_FINETUNE = [sys.executable, "-m", "finetune"]
SECONDS = 900  # of a command, after which it hangs
# Gentle enough that rounding does not grow: two attention kernels end within 0.001 of each other.
_BASE = {
    "lora_rank": 4, "lora_dropout": 0.1, "learning_rate": 4e-3, "scheduler": "cosine", "warmup": 0, "batch_size": 4,
    "max_steps": 20, "num_workers": 0, "save_steps": 8, "max_length": 128, "decoder": "lora",
}  # fmt: skip
_EXACT = {"quantization": "none", "compute_dtype": "float32", "lora_dropout": 0.0}


@dataclass(frozen=True)
class Check:
    """A way to train.

    Attributes:
        recipe: keys that differ from the tiny recipe.
        gpus: how many it needs.
        package: module that must be installed for it.
        resume: also kill it and compare what resumes with a run that was not killed.
        merge: also merge the result, which compares it with the trained model.
        like: check whose losses it must have, or ``cpu``: its own on the CPU.
        launch: value of `--launch`, with one process for each GPU, or two on the CPU.
    """

    recipe: Mapping[str, Any] = field(default_factory=dict)
    gpus: int = 0
    package: str = ""
    resume: bool = False
    merge: bool = False
    like: str = ""
    launch: str = ""


CHECKS = {
    "nf4": Check(resume=True, merge=True),
    "int8": Check({"quantization": "int8"}, merge=True),
    "bfloat16": Check({"quantization": "none"}, merge=True),
    "float16": Check({"quantization": "none", "compute_dtype": "float16"}, gpus=1, merge=True),
    "float32": Check(_EXACT, resume=True),
    "float32 like the CPU": Check(_EXACT, gpus=1, like="cpu"),
    "dora": Check({**_EXACT, "lora_variant": "dora", "vision": "lora"}, merge=True),
    "gradient checkpointing": Check({**_EXACT, "gradient_checkpointing": True}, like="float32"),
    "eager attention": Check({**_EXACT, "attention": "eager"}, like="float32"),
    "sdpa attention": Check({**_EXACT, "attention": "sdpa"}, like="float32"),
    "flash attention 2": Check({"quantization": "none", "attention": "flash_attention_2"}, 1, "flash_attn", merge=True),
    "flash attention 3": Check(
        {"quantization": "none", "attention": "flash_attention_3"}, 1, "flash_attn_interface", merge=True
    ),
    "8-bit AdamW": Check({"quantization": "none", "optim": "adamw_8bit"}, gpus=1),
    "paged AdamW": Check({"optim": "paged_adamw_32bit"}, gpus=1, resume=True),
    "paged 8-bit AdamW": Check({"optim": "paged_adamw_8bit"}, gpus=1, resume=True),
    "two processes": Check(_EXACT, launch="ddp"),
    "DDP": Check({}, gpus=2, launch="ddp"),
    "FSDP2": Check({}, gpus=2, launch="fsdp2"),
    "ZeRO-2": Check({}, gpus=2, package="deepspeed", launch="zero2"),
    "ZeRO-3": Check({}, gpus=2, package="deepspeed", launch="zero3"),
}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a check.

    Attributes:
        reason: why it failed or was skipped; of a check that is ok, its first and last loss.
    """

    name: str
    state: Literal["ok", "failed", "skipped"]
    reason: str
    seconds: float


class _Failed(Exception):
    """A check failed; the text says why."""


def selftest(*, gpu: bool, only: Sequence[str]) -> list[Result]:
    """Run the checks and print a table; the folder with logs is kept if one fails.

    Args:
        gpu: on this machine's GPUs; else on its CPU.
        only: names of checks; empty: all.

    Raises:
        UserError: there is no GPU, or no check of a name.
    """
    import torch

    if unknown := [name for name in only if name not in CHECKS]:
        raise UserError(f"no check is called {unknown[0]!r}; {did_you_mean(unknown[0], sorted(CHECKS))}")
    cards = torch.cuda.device_count() if gpu else 0
    if gpu and not cards:
        raise UserError("--gpu: torch sees no GPU here; see `winnow doctor`")
    prepare_libraries()
    folder = Path(tempfile.mkdtemp(prefix="winnow-selftest-"))
    console = Console(highlight=False)
    save_model(folder / "model", embeddings=5.0)
    (folder / "data").mkdir()
    bench = _Bench(folder, save_data(folder / "data"), cards)
    results = []
    for name, check in CHECKS.items():
        if only and name not in only:
            continue
        console.print(f"{name} …")
        results.append(bench.result(name, check))
    table = Table("check", "result", "", "seconds", title=f"on {cards} GPU(s)" if gpu else "on the CPU")
    style = {"ok": "green", "failed": "bold red", "skipped": "dim"}
    for result in results:
        seconds = f"{result.seconds:.0f}" if result.seconds else ""
        table.add_row(result.name, f"[{style[result.state]}]{result.state}[/]", result.reason, seconds)
    console.print(table)
    if any(result.state == "failed" for result in results):
        console.print(f"logs: {folder}", soft_wrap=True)
    else:
        shutil.rmtree(folder)
    return results


@dataclass(frozen=True)
class _Bench:
    """Where checks run: a folder with the tiny model, its data, and a number of GPUs (0: the CPU)."""

    folder: Path
    data: Path
    cards: int

    def result(self, name: str, check: Check) -> Result:
        """Run a check, or say why it is skipped."""
        if reason := self._lacking(check):
            return Result(name, "skipped", reason, 0.0)
        started = time.monotonic()
        try:
            reason = self._run(name, check)
        except _Failed as failure:
            return Result(name, "failed", str(failure), time.monotonic() - started)
        return Result(name, "ok", reason, time.monotonic() - started)

    def _lacking(self, check: Check) -> str:
        if check.gpus > self.cards:
            return "needs a GPU (--gpu)" if not self.cards and check.gpus == 1 else f"needs {check.gpus} GPUs"
        if check.package and importlib.util.find_spec(check.package) is None:
            return f"{check.package} is not installed"
        if check.launch and not check.gpus and self.cards:
            return "DDP is checked on GPUs"
        return ""

    def _run(self, name: str, check: Check) -> str:
        run = self._train(name, check)
        losses = [line["loss"] for line in _lines(run / "metrics.jsonl")]
        if not all(map(math.isfinite, losses)):
            raise _Failed(f"the loss is {next(loss for loss in losses if not math.isfinite(loss))}")
        last = sum(losses[-4:]) / 4
        if last > 0.8 * losses[0]:
            raise _Failed(f"does not learn: loss {losses[0]:.3f} → {last:.3f}")
        if check.resume:
            _compare(losses, self._train(f"{name} killed", check, kill=True), 0.02, "after a kill")
        if check.like == "cpu":
            _compare(losses, self._train(f"{name} on it", check, cpu=True), 0.02, "on the CPU")
        elif check.like:
            twin = f"{check.like} as twin"
            other = self._place(twin) if self._place(twin).is_dir() else self._train(twin, CHECKS[check.like])
            _compare(losses, other, 0.02, f"of {check.like}")
        if check.merge:
            out = self.folder / f"{_slug(name)}-merged"
            self._call(name, ["merge", str(run), "--out", str(out), "--rows", "8"])
        return f"loss {losses[0]:.2f} → {last:.2f}"

    def _place(self, name: str) -> Path:
        return self.folder / _slug(name)

    def _train(self, name: str, check: Check, *, kill: bool = False, cpu: bool = False) -> Path:
        """Train, with ``kill`` in two starts of which the first is killed after a checkpoint."""
        run, recipe = self._place(name), self.folder / f"{_slug(name)}.yaml"
        values = {**_BASE, **check.recipe, "name": "selftest", "out": str(run), "model": str(self.folder / "model"),
                  "data": str(self.data)}  # fmt: skip
        recipe.write_text(yaml.safe_dump(values), encoding="utf-8")
        arguments = ["train", str(recipe)]
        if check.launch:
            arguments += ["--launch", check.launch, "--processes", str(self.cards or 2)]
        if kill:
            process = subprocess.Popen(
                [*_FINETUNE, *arguments], env=self._environment(cpu), stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            deadline = time.monotonic() + SECONDS
            while not list(run.glob("checkpoints/*/checkpoint-8/complete.json")) and process.poll() is None:
                if time.monotonic() > deadline:
                    process.kill()
                    raise _Failed(f"wrote no checkpoint within {SECONDS} s")
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            process.wait()
        self._call(name, arguments, cpu=cpu)
        return run

    def _call(self, name: str, arguments: list[str], *, cpu: bool = False) -> None:
        """Run a command of finetune; its output is appended to the check's log."""
        with (self.folder / f"{_slug(name)}.log").open("ab+") as log:
            try:
                done = subprocess.run(
                    [*_FINETUNE, *arguments], env=self._environment(cpu), stdout=log, stderr=log, timeout=SECONDS,
                    check=False,
                )  # fmt: skip
            except subprocess.TimeoutExpired:
                raise _Failed(f"finetune {arguments[0]} does not end within {SECONDS} s") from None
            if done.returncode:
                log.seek(0)
                lines = log.read().decode(errors="replace").strip().splitlines()
                errors = [line for line in lines if line.startswith("error: ") or "Error" in line]
                raise _Failed(f"finetune {arguments[0]}: {(errors or lines or ['no message'])[-1].strip()[:200]}")

    def _environment(self, cpu: bool) -> dict[str, str]:
        hidden = {} if self.cards and not cpu else {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        return {**os.environ, "HF_HUB_OFFLINE": "1", **hidden}


def _compare(losses: list[float], run: Path, tolerance: float, what: str) -> None:
    others = [line["loss"] for line in _lines(run / "metrics.jsonl")]
    if len(others) != len(losses):
        raise _Failed(f"{len(losses)} lines of losses, {len(others)} {what}")
    apart = max(abs(one - other) for one, other in zip(losses, others, strict=True))
    if apart > tolerance * losses[0]:
        raise _Failed(f"its losses are up to {apart:.3f} from those {what}")


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _slug(name: str) -> str:
    return name.replace(" ", "-")
