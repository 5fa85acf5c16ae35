"""``finetune export``: merge, calibrate, quantise, reload in a new process, and measure what it cost."""

from __future__ import annotations

import gc
import shutil
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console

from evalsuite.backends.model import end_tokens
from finetune.export.calibration import write_calibration
from finetune.export.card import write_card
from finetune.export.engines import engines
from finetune.export.environment import library_of, python_for, run_worker
from finetune.export.fresh_process import ask_exported, exported_outputs, scored_prompts
from finetune.export.layers import Layers, check_layout, layers_of, weight_bytes
from finetune.export.merge import comparison_device, merge
from finetune.export.outputs import Greedy, ReferenceOutputs, compare, load_adapter, open_run, reference_outputs
from finetune.export.questions import (
    accuracy_sentences,
    ask_trained,
    draw_questions,
    judge,
    reply_of,
    speed_of,
    trained_replies,
    write_questions,
)
from finetune.export.record import METHODS, Agreement, Calibration, ExportRecord, Speed, read_record, write_record
from finetune.export.worker.job import Method, QuantiseDone, QuantiseJob
from finetune.model.load import load_processor
from finetune.recipe import TrainRecipe
from finetune.report.serving import serving_notes
from finetune.training.prompts import KEPT, Prompt, read_prompts
from winnow.errors import UserError, chosen
from winnow.files import digest_of, read_json, sha256_file, write_json, write_text
from winnow.run import MANIFEST, Stages, check_replaceable, is_current, whole_folder, write_manifest
from winnow.vlm.models import load_config

STAGE = "export"
VERSION = 1  # raise it when the same settings make another export
MODEL = "model"
_CALIBRATED: tuple[Method, ...] = ("gptq", "awq")
_GROUPED: tuple[Method, ...] = ("gptq", "rtn", "awq", "openvino-int4")
_NOT_COPIED = ("config.json", "merge.json", MANIFEST)
_BATCH = 16


@dataclass(frozen=True)
class Settings:
    """What is asked for.

    Attributes:
        tasks: evaluation tasks; None: those of the run's recipe.
        rows: most questions of each task.
        max_loss: in points: hundredths of the tasks' metrics.
        calibration: rows that the quantiser sees.
        group_size: None: 128 where every layer consists of such groups, else 32.
        environment: folder of the virtual environment, in place of the usual one.
    """

    method: Method
    out: Path | None = None
    tasks: tuple[str, ...] | None = None
    rows: int = 1000
    max_loss: float = 1.0
    calibration: int = 64
    group_size: int | None = None
    seed: int = 0
    environment: Path | None = None


def parse_method(given: str) -> Method:
    """The method of that name.

    Raises:
        UserError: there is none.
    """
    if given in ("nf4", "bnb", "bitsandbytes", "4bit"):
        raise UserError(
            f"--to {given}: NF4 rounds the merged weights without calibration, which takes away much of what was "
            "trained; give gptq"
        )
    return chosen("--to", given, METHODS)


def export(run: Path, settings: Settings) -> ExportRecord:
    """Export the model of a finished run, or leave an export that is up to date.

    Raises:
        UserError: the run is not finished, the method's environment is missing, the checkpoint does not hold what it
            should, or it loses more than it may; in the last case the export is there, with the verdict in it.
    """
    made = _Export(run, settings)
    record = read_record(made.out) if made.is_current() else made.make()
    for sentence in accuracy_sentences(record.accuracy):
        made.console.print(sentence, markup=False, soft_wrap=True)
    share = record.size_bytes / record.merged_bytes
    made.console.print(
        f"{made.out}: {record.size_bytes / 1e6:,.1f} MB, {share:.0%} of the merged model", soft_wrap=True
    )
    if not record.passed:
        raise UserError(f"{made.out}: {_verdict(record)}; {hint(record)}")
    return record


def _verdict(record: ExportRecord) -> str:
    if record.agreement.prompt_tokens < 1.0:
        return f"{1 - record.agreement.prompt_tokens:.0%} of the prompts are other tokens than in training"
    worst = max(task.loss for task in record.accuracy.tasks)
    return f"loses {100 * worst:.1f} points, more than --max-loss {100 * record.accuracy.max_loss:g}"


def hint(record: ExportRecord) -> str:
    """What to try against a loss."""
    if record.agreement.prompt_tokens < 1.0:
        return "the library prepares inputs otherwise; see its processor_config.json and versions in export.json"
    if record.method == "rtn":
        return "try --to gptq, which is calibrated"
    smaller = "--group-size 32, " if record.group_size != 32 else ""
    if record.method in ("gptq", "awq"):
        return f"try {smaller}more rows with --calibration {4 * record.calibration.rows}, or --to int8"
    if record.method == "openvino-int4":
        return f"try {smaller}--to openvino-int8, or --to gptq, which is calibrated"
    return "try --to merged, which rounds nothing"


class _Export:
    """One export: its inputs, its folder of work, and its steps."""

    def __init__(self, run: Path, settings: Settings) -> None:
        self.run, self.settings, self.method = run, settings, settings.method
        self.recipe: TrainRecipe = open_run(run)
        self.out = settings.out or Path("data/exports") / f"{self.recipe.name}-{settings.method}"
        check_replaceable(self.out, stage=STAGE)
        self.work = self.out.with_name(f".{self.out.name}.work")
        self.console = Console(stderr=True, highlight=False)
        self.python = python_for(settings.method, settings.environment)
        self.inputs_of = self.recipe.input_settings
        self.processor = load_processor(str(run / "adapter"))
        tasks = settings.tasks if settings.tasks is not None else tuple(self.recipe.eval_tasks)
        self.questions = draw_questions(
            dict.fromkeys(tasks, settings.rows), seed=settings.seed, processor=self.processor, inputs=self.inputs_of
        )
        self.prompts: list[Prompt] = [
            prompt for prompt in read_prompts(run, KEPT) if not prompt.videos and not prompt.audios
        ]
        self.resolved = {
            "version": VERSION, "method": self.method, "tasks": list(tasks), "rows": settings.rows,
            "max_loss": settings.max_loss, "seed": settings.seed,
            "calibration": settings.calibration if self.method in _CALIBRATED else 0,
            "group_size": settings.group_size if self.method in _GROUPED else None,
        }  # fmt: skip
        weights = sorted((run / "adapter").glob("*.safetensors"))
        self.adapter = digest_of({path.name: sha256_file(path) for path in weights})
        self.inputs = {
            "run": sha256_file(run / MANIFEST), "adapter": self.adapter,
            "questions": digest_of(self.questions.to_json()),
        }  # fmt: skip

    def is_current(self) -> bool:
        """Whether the export is there already."""
        current = is_current(self.out, recipe=self.resolved, inputs=self.inputs)
        if current:
            self.console.print(f"{self.out} is up to date")
        return current

    @cached_property
    def merged(self) -> Path:
        """The merged checkpoint."""
        return self.run / "adapter" if self.recipe.decoder == "full" else self.work / "merged"

    @cached_property
    def place(self) -> Any:
        """The device that both models run on."""
        return comparison_device(self.recipe)

    @cached_property
    def layers(self) -> Layers | None:
        """The layers of a model that is quantised."""
        return None if self.method == "merged" else layers_of(str(self.merged))

    def group_size(self) -> int | None:
        """Weights that share a scale.

        Raises:
            UserError: a layer does not consist of such groups.
        """
        if self.method not in _GROUPED or self.layers is None:
            return None
        size = self.settings.group_size or self.layers.group_size()
        if odd := sorted(width for width in self.layers.widths if width % size):
            raise UserError(f"--group-size {size}: a layer has {odd[0]} inputs, which is no multiple; give 32 or none")
        return size

    def make(self) -> ExportRecord:
        """Do the steps that are not done, and publish."""
        self.work.mkdir(parents=True, exist_ok=True)
        stages = Stages(self.work)
        key = {**self.resolved, **self.inputs}
        if self.recipe.decoder != "full":
            stages.run_if_stale("merge", self.inputs["run"], [self.merged / "config.json"], self._merge)
        if self.method in _CALIBRATED:
            stages.run_if_stale("calibrate", key, [self.work / "calibration.json"], self._calibrate)
        quantised = {name: value for name, value in key.items() if name not in ("max_loss", "rows", "tasks")}
        stages.run_if_stale("quantise", quantised, [self.work / MODEL / "config.json"], self._quantise)
        if not self.method.startswith("openvino"):
            check_layout(self.work / MODEL, self._all_layers(), packed=self.method != "merged")
        stages.run_if_stale("ask the trained model", key, [self.work / "trained.json"], self._ask_trained)
        files = {path.name: sha256_file(path) for path in sorted((self.work / MODEL).iterdir()) if path.is_file()}
        stages.run_if_stale("ask the exported model", {**key, "files": files}, [self.work / "asked.json"],
                            lambda: self._ask_exported(digest_of({**key, "files": files})))  # fmt: skip
        return self._publish(stages)

    def _all_layers(self) -> Layers:
        return self.layers or layers_of(str(self.merged), fused_experts=True)

    def _ignored(self) -> list[str]:
        """Patterns of what the quantiser left whole; OpenVINO's decides by itself."""
        return self.layers.ignored if self.layers and library_of(self.method) != "openvino" else []

    def _merge(self) -> None:
        shutil.rmtree(self.merged, ignore_errors=True)
        into: Any = "original" if self.recipe.quantization == "none" else "dequantized"
        merge(self.run, self.merged, into=into, count=KEPT)

    def _calibrate(self) -> None:
        rows = self.work / "calibration"
        shutil.rmtree(rows, ignore_errors=True)
        found = write_calibration(
            self.recipe, self.run, rows, count=self.settings.calibration, seed=self.settings.seed,
            images=self.questions.image_keys, ids={prompt.sample_id for prompt in self.prompts},
        )  # fmt: skip
        write_text(self.work / "calibration.json", found.model_dump_json(indent=2))

    def _quantise(self) -> None:
        out, partial = self.work / MODEL, self.work / f"{MODEL}.partial"
        for folder in (out, partial):
            shutil.rmtree(folder, ignore_errors=True)
        if self.method == "merged":
            shutil.copytree(self.merged, partial, ignore=shutil.ignore_patterns(*_NOT_COPIED[1:]))
        else:
            self.console.print(
                f"quantising by {self.method}; {self.work / 'quantise.log'} has its messages", soft_wrap=True
            )
            assert self.layers is not None
            rows = self.work / "calibration" if self.method in _CALIBRATED else None
            job = QuantiseJob(
                method=self.method, model=self.merged.absolute(), out=partial.absolute(), ignored=self.layers.ignored,
                decoder=self.layers.decoder if self.method == "awq" else None, group_size=self.group_size(),
                calibration=rows.absolute() if rows else None, device=str(self.place),
            )  # fmt: skip
            write_text(self.work / "quantise.json", job.model_dump_json(indent=2))
            paths = [str((self.work / name).absolute()) for name in ("quantise.json", "quantised.json")]
            run_worker(self.python, "quantise", paths, self.work / "quantise.log")
            for path in self.merged.iterdir():  # as it was trained, not as another version writes it
                if path.is_file() and path.name not in _NOT_COPIED and not path.name.startswith("model"):
                    shutil.copyfile(path, partial / path.name)
        partial.rename(out)

    def _ask_trained(self) -> None:
        model = load_adapter(self.recipe, self.run, self.place)
        wanted = reference_outputs(model, self.processor, self.prompts, self.inputs_of)
        from safetensors.torch import save_file

        save_file({"logits": wanted.logits.contiguous()}, self.work / "trained.safetensors")
        ask_trained(self.questions, model, self._trained_folder(), batch_size=_BATCH)
        stored = {
            "answers": [asdict(answer) for answer in wanted.answers], "prompt_tokens": wanted.prompt_tokens,
            "end_tokens": sorted(end_tokens(model, self.processor.tokenizer)),
        }  # fmt: skip
        write_json(self.work / "trained.json", stored)
        del model
        gc.collect()  # the other process needs the memory

    def _trained_folder(self) -> Path:
        """Of this very model and these very questions: replies of others are not taken for theirs."""
        return self.work / f"trained-{digest_of(self.inputs)[:12]}"

    def _ask_exported(self, made: str) -> None:
        self.console.print("asking the exported model in a new process", soft_wrap=True)
        folder = self.work / f"exported-{made[:12]}"
        prompts = scored_prompts(self.prompts, self.processor, self.inputs_of, self.work / "images")
        write_questions(self.questions, self.work / "questions.jsonl", (self.work / "images").absolute())
        ask_exported(
            self.work / MODEL, folder, method=self.method, python=self.python, prompts=prompts,
            questions=self.work / "questions.jsonl", batch_size=_BATCH,
            end_tokens=read_json(self.work / "trained.json")["end_tokens"], device=str(self.place),
        )  # fmt: skip
        write_json(self.work / "asked.json", {"folder": folder.name})

    def _publish(self, stages: Stages) -> ExportRecord:
        from safetensors.torch import load_file

        stored = read_json(self.work / "trained.json")
        wanted = ReferenceOutputs(
            load_file(self.work / "trained.safetensors")["logits"], [Greedy(**each) for each in stored["answers"]],
            stored["prompt_tokens"],
        )  # fmt: skip
        got, replies, versions = exported_outputs(self.work / read_json(self.work / "asked.json")["folder"])
        parity = compare(wanted, got, self.prompts)
        accuracy = judge(
            self.questions, trained_replies(self.questions, self._trained_folder()),
            {reply.key: reply_of(reply) for reply in replies}, max_loss=self.settings.max_loss / 100,
            seed=self.settings.seed,
        )  # fmt: skip
        calibration = Calibration(seed=self.settings.seed)
        if self.method in _CALIBRATED:
            calibration = Calibration.model_validate_json((self.work / "calibration.json").read_bytes())
        done = None
        if self.method != "merged":
            done = QuantiseDone.model_validate_json((self.work / "quantised.json").read_bytes())
            versions = {**done.packages, **versions}
        library = library_of(self.method)
        seconds, speed = speed_of(replies)
        record = ExportRecord(
            name=self.out.name, method=self.method, model=MODEL, base_run=str(self.run), base=self.recipe.model,
            adapter=self.adapter, calibration=calibration, ignored=self._ignored(),
            group_size=self.group_size(), symmetric=done.symmetric if done else None,
            act_order=done.act_order if done else None, size_bytes=weight_bytes(self.work / MODEL),
            merged_bytes=weight_bytes(self.merged), packages=versions,
            seconds={name: round(took, 1) for name, took in stages.seconds.items()},
            agreement=Agreement(
                prompts=parity.prompts, tokens=parity.tokens, held_out=parity.held_out, logit_error=parity.error,
                top_token=parity.agreement, answers=parity.answers, prompt_tokens=parity.prompt_tokens,
            ),
            accuracy=accuracy,
            speed=Speed(library=library, device=str(self.place), questions=len(replies), batch_size=_BATCH,
                        seconds=round(seconds, 2), tokens_per_second=round(speed, 2)),
            engines=engines(self.method, load_config(str(self.merged)).architectures or [], self.layers,
                            self.group_size(), f"{library} {versions.get(library, '')}".strip()),
            notes=serving_notes(self.recipe.model, self.processor, self.inputs_of, self.out / MODEL),
        )  # fmt: skip
        with whole_folder(self.out, stage=STAGE) as staging:
            write_record(staging, record)
            write_card(staging, record)
            (self.work / MODEL).rename(staging / MODEL)
            write_manifest(
                staging, stage=STAGE, recipe=self.resolved, inputs=self.inputs,
                outputs=[path for path in staging.rglob("*") if path.is_file()],
                counts={"questions": len(replies), "calibration": calibration.rows}, seconds=stages.seconds,
                seeds={"seed": self.settings.seed},
            )  # fmt: skip
        shutil.rmtree(self.work)
        return record
