"""Whether a served model is the trained one: prompts, image tokens, greedy answers, the evaluation, and its speed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from evalsuite.backends import Reply, messages
from evalsuite.backends.sender import fill_in, request_body
from evalsuite.backends.server import ask_all, list_models
from evalsuite.recipe import ServerSettings
from evalsuite.runs.requests import distinct_requests
from finetune.export.merge import comparison_device
from finetune.export.outputs import MAX_NEW_TOKENS, load_adapter, open_run
from finetune.export.parity import ServerParity, ask_server, compare_server, greedy_answers
from finetune.export.questions import Questions, ask_trained, draw_questions, judge, trained_replies
from finetune.export.record import Accuracy, read_record
from finetune.recipe import TrainRecipe
from finetune.training.prompts import KEPT, Prompt, read_prompts
from serving.image_tokens import ImageTokens, compare_image_tokens
from serving.load import Level, measure_load
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file
from winnow.rows.conversations import IMAGE_MARKER
from winnow.vlm.inputs import cap_before

KEPT_ANSWERS = "trained-"  # begins the names of folders with the trained model's answers
_BATCH = 16  # questions that the trained model is asked at a time
_BODIES = 64  # different questions of the load


@dataclass(frozen=True)
class CheckSettings:
    """What is asked for.

    Attributes:
        url: up to and with ``/v1``.
        model: its name there; None: the only one that the server lists.
        export: the export that is served, whose quantisation explains other greedy answers; None: what was trained.
        tasks: evaluation tasks; None: those of the run's recipe.
        rows: most questions of each task.
        max_loss: points, hundredths of a task's metric, that the served model may be worse.
        users: levels of load; none measures no speed.
        every: mean seconds between two questions of a user.
        seconds: length of each level.
    """

    url: str
    run: Path
    model: str | None = None
    export: Path | None = None
    tasks: tuple[str, ...] | None = None
    rows: int = 200
    max_loss: float = 1.0
    users: tuple[int, ...] = (1, 4, 16)
    every: float = 10.0
    seconds: float = 30.0
    timeout: float = 120.0
    seed: int = 0


@dataclass(frozen=True)
class Checked:
    """What a check found.

    Attributes:
        answers: on the run's kept prompts.
        expected_answers: share of them with the same greedy answer that the export had; None: it was not quantised, so
            that every difference has to be explained by rounding.
        accuracy: None: no task was asked.
        unanswered: questions of the tasks that the server gave no answer to.
        load: by number of users.
    """

    url: str
    model: str
    run: str
    answers: ServerParity
    image_tokens: ImageTokens
    expected_answers: float | None
    accuracy: Accuracy | None
    unanswered: int
    load: list[Level]

    @property
    def faults(self) -> list[str]:
        """Why the served model is not the trained one, as sentences; empty if it is."""
        found = []
        if self.answers.prompt_tokens not in (None, 1.0):
            found.append("prompts have other lengths than in training: another chat template or image settings")
        if self.image_tokens.differing:
            found.append("images become another number of tokens than in training: other image settings")
        if self.expected_answers is None and self.answers.unexplained:
            found.append("greedy answers differ by more than rounding: other weights")
        if self.accuracy is not None and not self.accuracy.passed:
            found.append("the evaluation loses more than --max-loss")
        if self.unanswered:
            found.append("questions of the evaluation had no answer")
        return found

    def to_json(self) -> dict[str, Any]:
        """All figures and the verdict."""
        return {
            "url": self.url, "model": self.model, "run": self.run, "passed": not self.faults, "faults": self.faults,
            "answers": asdict(self.answers), "expected_answers": self.expected_answers,
            "image_tokens": asdict(self.image_tokens),
            "accuracy": self.accuracy.model_dump() if self.accuracy else None, "unanswered": self.unanswered,
            "load": [level.to_json() for level in self.load],
        }  # fmt: skip


def check(settings: CheckSettings, out: Path) -> Checked:
    """Ask the server and the trained model the same, and measure the server's speed.

    Args:
        out: folder of the check; the trained model's answers are kept there for the next one.

    Raises:
        UserError: the run is not finished, a task cannot be asked, or the server does not answer.
    """
    from finetune.model.load import load_processor

    recipe, console = open_run(settings.run), Console(stderr=True, highlight=False)
    expected = _expected_answers(settings)
    prompts = [prompt for prompt in read_prompts(settings.run, KEPT) if not prompt.videos and not prompt.audios]
    if not prompts:
        raise UserError(f"{settings.run}: its prompts hold videos or sounds, which servers take in no common form")
    processor = load_processor(str(settings.run / "adapter"))
    inputs, cap = recipe.input_settings, cap_before(processor, recipe.input_settings)
    server = ServerSettings(
        url=settings.url, model=settings.model or _served_model(settings), timeout=settings.timeout, max_pixels=cap,
        extra_body={"chat_template_kwargs": dict(inputs.chat_template_kwargs)} if inputs.chat_template_kwargs else {},
    )  # fmt: skip
    tasks = settings.tasks if settings.tasks is not None else tuple(recipe.eval_tasks)
    questions = draw_questions(
        dict.fromkeys(tasks, settings.rows), seed=settings.seed, processor=processor, inputs=inputs
    ) if tasks else None  # fmt: skip
    console.print(f"{settings.url}: asking {server.model} the run's {len(prompts)} kept prompts", soft_wrap=True)
    asked = ask_server(settings.url, server.model, prompts, inputs, cap)
    image_tokens = compare_image_tokens(settings.url, asked, prompts, processor, inputs, cap)
    wanted, scale = greedy_answers(recipe, settings.run, prompts, processor)
    answers = compare_server(settings.url, asked, wanted, scale, prompts, processor.tokenizer)
    accuracy, unanswered = None, 0
    if questions is not None:
        accuracy, unanswered = _evaluate(settings, recipe, questions, server, out)
    else:
        console.print("no evaluation task is known, so no accuracy is compared; give one with --task", soft_wrap=True)
    load = _load(settings, server, prompts, questions, cap)
    return Checked(
        settings.url, str(server.model), str(settings.run), answers, image_tokens, expected, accuracy, unanswered, load
    )


def _expected_answers(settings: CheckSettings) -> float | None:
    if settings.export is None:
        return None
    record = read_record(settings.export)
    if Path(record.base_run).resolve() != settings.run.resolve():
        raise UserError(f"{settings.export}: was exported from {record.base_run}, not from {settings.run}")
    return None if record.method == "merged" else record.agreement.answers


def _served_model(settings: CheckSettings) -> str:
    """The only model that the server lists."""
    try:
        listed = list_models(ServerSettings(url=settings.url, timeout=settings.timeout))
    except ConnectionError as error:
        raise UserError(f"{settings.url}: {error}; start the server: `serve start MODEL`") from error
    if not listed or len(listed) > 1:
        names = ", ".join(str(entry["id"]) for entry in listed or [])
        raise UserError(f"{settings.url}: {f'serves {names}' if names else 'lists no model'}; name one with --model")
    return str(listed[0]["id"])


def _evaluate(
    settings: CheckSettings, recipe: TrainRecipe, questions: Questions, server: ServerSettings, out: Path
) -> tuple[Accuracy, int]:
    """The verdict on the tasks, and how many questions had no answer."""
    model = {
        path.name: sha256_file(path) for path in sorted((settings.run / "adapter").glob("*.safetensors"))
    }  # fmt: skip
    kept = out / f"{KEPT_ANSWERS}{digest_of([model, questions.to_json()])[:16]}"
    try:
        trained = trained_replies(questions, kept)
    except OSError:
        ask_trained(questions, load_adapter(recipe, settings.run, comparison_device(recipe)), kept, batch_size=_BATCH)
        trained = trained_replies(questions, kept)
    served = ask_served(questions, server)
    unanswered = sum(reply.finish_reason == "error" for reply in served.values())
    if served and unanswered == len(served):
        raise UserError(f"{server.url}: answers no question of the evaluation: {next(iter(served.values())).error}")
    return judge(questions, trained, served, max_loss=settings.max_loss / 100, seed=settings.seed), unanswered


def ask_served(questions: Questions, server: ServerSettings) -> dict[str, Reply]:
    """The server's greedy replies, by the keys that the questions have for the trained model too."""
    found: dict[str, Reply] = {}
    for sample in questions.samples.values():
        chats = {entry.request.key: entry for entry in sample.asked if entry.request is not None}
        requests = []
        for request in distinct_requests(sample.asked):
            row = chats[request.key].row
            prompt = row.prompt.replace(IMAGE_MARKER, "") if sample.task.spec.blind else row.prompt
            chat = json.dumps(messages(prompt, len(request.images), row.system), ensure_ascii=False)
            requests.append(replace(request, chat=chat))
        for replies in ask_all(server, str(server.model), requests, stops=False):
            found |= {reply.key: reply for reply in replies}
    return found


def _load(
    settings: CheckSettings, server: ServerSettings, prompts: Sequence[Prompt], questions: Questions | None,
    cap: int | None,
) -> list[Level]:  # fmt: skip
    """Speed on questions of the tasks, else on the kept prompts."""
    if not settings.users:
        return []
    bodies = _task_bodies(questions, server) if questions is not None else _prompt_bodies(prompts, server, cap)
    return measure_load(
        settings.url, str(server.model), bodies, settings.users, every=settings.every, seconds=settings.seconds,
        timeout=settings.timeout, seed=settings.seed,
    )  # fmt: skip


def _task_bodies(questions: Questions, server: ServerSettings) -> list[dict[str, Any]]:
    bodies = []
    for sample in questions.samples.values():
        for entry in sample.asked[:_BODIES]:
            if entry.request is None:
                continue
            chat = json.dumps(messages(entry.row.prompt, len(entry.request.images), entry.row.system))
            request = replace(entry.request, chat=chat, stop=())
            body = request_body(server, "", request)
            bodies.append({**body, "messages": fill_in(request, server)})
    return [{key: value for key, value in body.items() if key != "model"} for body in bodies[:_BODIES]]


def _prompt_bodies(prompts: Sequence[Prompt], server: ServerSettings, cap: int | None) -> list[dict[str, Any]]:
    from finetune.export.parity import prompt_messages

    extra: Mapping[str, Any] = {"extra_body": server.extra_body} if server.extra_body else {}
    return [
        {"messages": prompt_messages(prompt, cap), "max_tokens": MAX_NEW_TOKENS, "temperature": 0, **extra}
        for prompt in prompts
    ]
