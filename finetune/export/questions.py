"""The run's evaluation tasks, asked of the trained and of the exported model, and the paired verdict on both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalsuite.analysis.compare import ComparedRun, compare
from evalsuite.analysis.results import score_rows
from evalsuite.analysis.rows import Rows
from evalsuite.backends import Reply
from evalsuite.backends.images import load_image
from evalsuite.runs.requests import distinct_requests, to_row
from evalsuite.runs.sample import TaskSample, ask_sample, draw_sample
from evalsuite.tasks.spec import TaskSpec
from finetune.export.record import Accuracy, TaskAccuracy
from finetune.export.worker.job import Answered, Asked
from winnow.errors import UserError
from winnow.files import atomic_path, read_json, write_json, write_text
from winnow.progress import track
from winnow.vlm.inputs import InputSettings, cap_before, scaled_down

_ASKED_AT_ONCE = 128  # questions between two points that a killed export resumes at


@dataclass(frozen=True)
class Questions:
    """The drawn rows of every task."""

    samples: dict[str, TaskSample]

    @property
    def image_keys(self) -> set[str]:
        """sha256 of every image."""
        return {key for sample in self.samples.values() for row in sample.asked for key in row.image_keys}

    def to_json(self) -> list[Any]:
        """What decides replies and scores: each row's request and references."""
        return [
            [name, entry.request.key if entry.request else None, list(entry.row.references)]
            for name, sample in self.samples.items()
            for entry in sample.asked
        ]


def draw_questions(tasks: Mapping[str, int], *, seed: int, processor: Any, inputs: InputSettings) -> Questions:
    """Draw rows of each task.

    Args:
        tasks: name or file of a task → most rows.

    Raises:
        UserError: as ``draw_sample``; no task, or one whose answers are sampled.
    """
    if not tasks:
        raise UserError(
            "no evaluation task is known, so nothing would show what the export costs: give one with --task, or name "
            "it under eval_tasks of the training recipe (`evalsuite tasks` lists those that ship)"
        )
    samples = {
        name: draw_sample(name, rows, seed=seed, processor=processor, inputs=inputs) for name, rows in tasks.items()
    }
    for name, sample in samples.items():
        if any(request.temperature is not None for request in _requests(sample)):
            raise UserError(f"task {name}: its answers are sampled, so two models cannot be compared row by row")
    return Questions(samples)


def _requests(sample: TaskSample) -> list[Any]:
    return distinct_requests(sample.asked)


def write_questions(questions: Questions, file: Path, images: Path) -> None:
    """Write the questions for a worker, their images as PNG, upright and of the size that the processor shall see."""
    images.mkdir(parents=True, exist_ok=True)
    lines = []
    for sample in questions.samples.values():
        cap = cap_before(sample.processor, sample.inputs)
        for request in _requests(sample):
            pairs = zip(request.images, request.image_keys, strict=True)
            files = [images / f"{key}-{cap or 'whole'}.png" for key in request.image_keys]
            for (source, _), target in zip(pairs, files, strict=True):
                if not target.is_file():
                    _write_image(source, target, cap)
            asked = Asked(key=request.key, text=request.chat, images=files, max_new_tokens=request.max_new_tokens,
                          stop=list(request.stop))  # fmt: skip
            lines.append(asked.model_dump_json())
    write_text(file, "".join(f"{line}\n" for line in dict.fromkeys(lines)))


def _write_image(source: str, target: Path, cap: int | None) -> None:
    image, error = load_image(source)
    if image is None:
        raise UserError(f"{error}; repair it, or take it out of the task")
    with atomic_path(target) as temporary:
        scaled_down(image, cap).save(temporary, "PNG")


def ask_trained(questions: Questions, model: Any, folder: Path, *, batch_size: int) -> None:
    """Ask the trained model; replies go to files of ``folder``, and those that are there are not asked again."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, sample in questions.samples.items():
        parts = -(-len(_requests(sample)) // _ASKED_AT_ONCE)
        for part in track(range(parts), f"{name}: asking the trained model", parts):
            stored = _part(folder, name, part)
            if not stored.is_file():
                replies = ask_sample(sample, model, batch_size=batch_size, part=part, parts=parts)
                write_json(stored, [asdict(reply) for reply in replies.values()])


def trained_replies(questions: Questions, folder: Path) -> dict[str, Reply]:
    """What ``ask_trained`` wrote."""
    found: dict[str, Reply] = {}
    for name, sample in questions.samples.items():
        for part in range(-(-len(_requests(sample)) // _ASKED_AT_ONCE)):
            found |= {line["key"]: Reply(**line) for line in read_json(_part(folder, name, part))}
    return found


def _part(folder: Path, task: str, part: int) -> Path:
    return folder / f"{Path(task).stem}-{part:05d}.json"


def reply_of(answered: Answered) -> Reply:
    """A worker's reply as evalsuite reads it."""
    return Reply(
        answered.key, answered.raw, answered.finish_reason, answered.input_tokens, answered.tokens, answered.seconds
    )


def judge(
    questions: Questions, trained: Mapping[str, Reply], exported: Mapping[str, Reply], *, max_loss: float, seed: int
) -> Accuracy:
    """Score both models' replies by evalsuite's metrics and compare them row by row.

    Args:
        trained, exported: replies by key.
        max_loss: largest loss that passes, from 0 to 1.
    """
    before, _ = _side("trained", questions, trained)
    after, lower_is_better = _side("exported", questions, exported)
    found = compare(before, [after], seed)["runs"][0]["tasks"]
    tasks = []
    for name in (sample.task.spec.name for sample in questions.samples.values()):
        if (entry := found.get(name)) is None:
            raise UserError(f"task {name}: no question has an answer of both models")
        tasks.append(_task_accuracy(name, entry, lower_is_better=lower_is_better[name]))
    settled = all(
        task.low is not None and task.high is not None and not task.low <= max_loss < task.high for task in tasks
    )
    passed = all(task.loss <= max_loss for task in tasks)
    return Accuracy(tasks=tasks, max_loss=max_loss, passed=passed, settled=settled)


def _side(label: str, questions: Questions, replies: Mapping[str, Reply]) -> tuple[ComparedRun, dict[str, bool]]:
    """One model's scored rows, and by task whether a lower value of its first metric is better."""
    specs: dict[str, TaskSpec] = {}
    rows: dict[str, Rows] = {}
    lower: dict[str, bool] = {}
    for sample in questions.samples.values():
        spec = sample.task.spec
        result = score_rows(spec, [to_row(entry, dict(replies)) for entry in sample.asked], sample.task.image_root)
        specs[spec.name], rows[spec.name] = spec, result.rows
        lower[spec.name] = result.headline.lower_is_better
    return ComparedRun(label, specs, rows), lower


def _task_accuracy(name: str, found: Mapping[str, Any], *, lower_is_better: bool) -> TaskAccuracy:
    metric = found["headline"]
    entry = found["metrics"][metric]
    if entry["a"] is None or entry["b"] is None:
        raise UserError(f"task {name}: its metric {metric} judges no row, so no loss can be measured")
    low, high = entry["ci_low"], entry["ci_high"]
    if not lower_is_better:
        low, high = (None if bound is None else 0.0 - bound for bound in (high, low))
    test = entry["mcnemar"]
    return TaskAccuracy(
        task=name, metric=metric, adapter=entry["a"], exported=entry["b"],
        loss=entry["difference"] if lower_is_better else 0.0 - entry["difference"], low=low, high=high, p=entry["p"],
        rows=entry["n"], images=entry["images"], only_adapter=test["only_a"] if test else None,
        only_exported=test["only_b"] if test else None,
    )  # fmt: skip


def accuracy_sentences(accuracy: Accuracy) -> list[str]:
    """The verdict in words: what was lost, what decides, and whether more questions could change it."""
    limit = f"{100 * accuracy.max_loss:g}"
    sentences = []
    for task in accuracy.tasks:
        interval = "" if task.low is None or task.high is None else (
            f" (95% interval {_points(task.low)} to {_points(task.high)})"
        )  # fmt: skip
        sentences.append(
            f"{task.task}: {task.metric} {task.exported:.3f}, trained model {task.adapter:.3f}, on {task.rows:,} "
            f"questions about {task.images:,} images; loss {_points(task.loss)} points{interval}"
        )
    verdict = "no more than" if accuracy.passed else "more than"
    doubt = "" if accuracy.settled else "; the interval reaches across the limit, so --rows with more can change this"
    sentences.append(f"the measured loss decides, and it is {verdict} the {limit} points of --max-loss{doubt}")
    return sentences


def _points(share: float) -> str:
    """A loss in points with its sign; what rounds to zero has none."""
    return f"{100 * share:+z.1f}".replace("+0.0", "0.0")


def speed_of(replies: Sequence[Answered]) -> tuple[float, float]:
    """Seconds for all replies and generated tokens per second."""
    seconds = sum(reply.seconds for reply in replies)
    return seconds, sum(reply.tokens for reply in replies) / max(seconds, 1e-9)
