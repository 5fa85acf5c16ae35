"""Checks of a model before anything is paid: its parts, its mask, what images cost, who can serve it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from finetune.adapter_base import is_adapter, with_adapter_base
from finetune.data.chat import TrainingConversation, uses_prompt_suffix
from finetune.data.collate import Collator, check_masks
from finetune.data.standard_images import standard_costs, standard_table
from finetune.data.template import template_form
from finetune.model.adapter import build_learner
from finetune.model.load import load_processor
from finetune.model.quantised import quantised_share
from finetune.recipe import TrainRecipe
from finetune.report.serving import SERVERS
from finetune.training.prompts import Prompt
from winnow.errors import UserError
from winnow.rows.records import Turn
from winnow.vlm.anatomy import ModelParts, find_parts
from winnow.vlm.inputs import InputSettings
from winnow.vlm.models import check_model_name, empty_model, first_line, prepare_libraries

_QUESTION, _ANSWER = "What is shown?", "Grey noise."


@dataclass(frozen=True, slots=True)
class Finding:
    """A line of the report.

    Attributes:
        subject: what was looked at.
        state: ok, note (training works, something is not supported) or refused (training would not start).
        detail: what was found, in one sentence.
    """

    subject: str
    state: Literal["ok", "note", "refused"]
    detail: str


def doctor(model: str, chat_template: Path | None = None) -> list[Finding]:
    """Examine a model without loading its weights and print what was found.

    Args:
        model: checkpoint folder or hub id; of an adapter's folder its base is examined.
        chat_template: Jinja file in place of its chat template.

    Raises:
        UserError: there is no such folder or template.
    """
    check_model_name(model)
    prepare_libraries()
    console = Console(highlight=False)
    findings: list[Finding] = []
    if is_adapter(Path(model)):
        base = with_adapter_base({"model": model})["model"]
        findings.append(Finding("adapter", "ok", f"of {base}, which is examined"))
        model = base
    findings += _weights(Path(model))
    findings += [*_architecture(console, model), *_inputs(console, model, chat_template)]
    for finding in findings:
        style = {"ok": "green", "note": "yellow", "refused": "bold red"}[finding.state]
        console.print(f"[{style}]{finding.state:8}[/] {finding.subject}: ", end="")
        console.print(finding.detail, markup=False, soft_wrap=True)
    return findings


def _weights(folder: Path) -> Iterator[Finding]:
    """A refusal if a folder holds weights as pickles only."""
    if any(folder.glob("*.bin")) and not any(folder.glob("*.safetensors")):
        yield Finding("weights", "refused", "are pickles (.bin), which are not loaded; save them as safetensors")


def _architecture(console: Console, model: str) -> Iterator[Finding]:
    try:
        empty = empty_model(model)
        parts = find_parts(empty)
    except UserError as error:
        yield Finding("architecture", "refused", str(error))
        return
    console.print(parts_table(model, empty, parts))
    yield Finding("architecture", "ok", type(empty).__name__)
    for quantization in ("nf4", "int8"):
        share = quantised_share(empty, parts, quantization)
        state: Literal["ok", "note"] = "ok" if share >= 0.9 else "note"
        yield Finding(
            quantization, state, f"{share:.1%} of the decoder's weights, embeddings not counted, are quantised"
        )
    keys: dict[str, Any] = {}
    if not parts.projector:
        keys["projector"] = False
    if parts.experts:
        keys["lora_dropout"] = 0
    names = getattr(empty.config, "architectures", None) or [type(empty).__name__]
    try:
        build_learner(empty, TrainRecipe(name="doctor", model=model, data=Path("rows.jsonl"), **keys))
    except UserError as error:
        yield Finding("recipe", "refused", str(error))
    else:
        needed = ", ".join(f"{key}: {str(value).lower()}" for key, value in keys.items())
        yield Finding("recipe", "ok", f"must set {needed}" if needed else "the defaults fit")
    yield from _servers(names)


def _servers(names: list[str]) -> Iterator[Finding]:
    for server, listed in json.loads(SERVERS.read_text(encoding="utf-8")).items():
        found = next((name for name in names if name in listed["architectures"]), None)
        origin = f"its list at commit {listed['commit'][:10]}, {listed['date']}"
        detail = f"lists {found} ({origin})" if found else f"does not list {', '.join(names)} ({origin})"
        yield Finding({"vllm": "vLLM", "lmdeploy": "LMDeploy"}[server], "ok" if found else "note", detail)


def parts_table(title: str, empty: Any, parts: ModelParts) -> Table:
    """The model's parts with their modules and sizes, for the terminal."""
    sizes: dict[str, int] = {}
    for name, parameter in empty.named_parameters():
        part: str = "experts" if name in parts.experts else parts.part_of(name)
        sizes[part] = sizes.get(part, 0) + parameter.numel()
    table = Table("part", "modules", "parameters", title=title, title_justify="left")
    listed = {
        "vision tower": [f"{parts.encoder} ({len(parts.blocks)} blocks)"] if parts.encoder else [],
        "projector": list(parts.projector), "decoder": [parts.decoder],
        "experts": [f"{len(parts.experts)} parameters in the decoder"] if parts.experts else [],
        "output head": [parts.head or "tied to the embeddings"], "other": list(parts.other),
    }  # fmt: skip
    for row, modules in listed.items():
        if modules or row in ("vision tower", "projector"):
            table.add_row(row, "\n".join(modules) or "none", f"{sizes.get(row, 0):,}")
    table.columns[-1].justify = "right"
    return table


def _inputs(console: Console, model: str, chat_template: Path | None) -> Iterator[Finding]:
    settings = InputSettings()
    try:
        processor = load_processor(model, chat_template, settings)
    except UserError as error:
        yield Finding("processor", "refused", str(error))
        return
    yield Finding("processor", "ok", type(processor).__name__)
    template = getattr(processor, "chat_template", None)
    if template is None and not uses_prompt_suffix(processor):
        yield Finding("chat template", "refused", "there is none; name a Jinja file with chat_template")
        return
    yield Finding("chat template", "ok", "there is one" if template else "none, the answer is a suffix of the prompt")
    with tempfile.TemporaryDirectory() as folder:
        yield from _masks(processor, settings, Path(folder))
    try:
        console.print(standard_table(standard_costs(processor, settings)))
    except Exception as error:  # noqa: BLE001 - a foreign processor can fail in any way
        yield Finding("images", "refused", f"the processor does not take an image: {first_line(error)}")
    yield from _abilities(processor, template if isinstance(template, str) else "", settings)


def _masks(processor: Any, settings: InputSettings, folder: Path) -> Iterator[Finding]:
    """Whether the answer's tokens are found, end in a stop token and follow the generation prompt."""
    from PIL import Image

    Image.effect_noise((320, 240), 64).convert("RGB").save(folder / "image.png")
    turns = (Turn("user", f"<image>\n{_QUESTION}"), Turn("assistant", _ANSWER))
    conversation = TrainingConversation(turns, ("image.png",), (0,))
    prompt = Prompt("doctor", [asdict(turn) for turn in turns], str(folder), ["image.png"], [], [], True)
    try:
        stops = check_masks(Collator(processor, folder, settings), [conversation]).stops
        ids = prompt.inputs(processor, settings)["input_ids"][0].tolist()
        trained, answer = prompt.answered(processor, settings)
    except Exception as error:  # noqa: BLE001 - a foreign processor can fail in any way
        yield Finding("mask", "refused", first_line(error))
        return
    yield Finding("mask", "ok", "the tokens of an answer are found, and no others")
    yield Finding("stop token", "ok" if stops else "note", "is trained with the answer" if stops else
                  "is not: the template puts none behind an answer, and the model would not learn to stop")  # fmt: skip
    same = trained["input_ids"][0, : int(answer.nonzero()[0, 0])].tolist() == ids
    yield Finding("generation prompt", "ok" if same else "note", "equals what training puts before an answer" if same
                  else "puts other tokens before an answer than training; answers may suffer")  # fmt: skip


def _abilities(processor: Any, template: str, settings: InputSettings) -> Iterator[Finding]:
    """Whether processor and chat template take videos, sounds and tools."""
    media = {"video": "video_processor", "audio": "feature_extractor"}
    for kind, attribute in media.items():
        takes = getattr(processor, attribute, None) is not None
        shown = kind in template
        missing = [name for name, there in (("processor", takes), ("chat template", shown)) if not there]
        yield Finding(kind, "note" if missing else "ok", f"not taken by {' and '.join(missing)}" if missing else
                      "taken by processor and chat template")  # fmt: skip
    if not template:
        return
    form = template_form(processor, settings)
    found = {(True, True): "the chat template shows their definitions, calls and results",
            (True, False): "the chat template shows their definitions, but no calls",
            (False, True): "the chat template shows calls, but no definitions"}  # fmt: skip
    state: Literal["ok", "note"] = "ok" if form.tools and form.calls else "note"
    yield Finding("tools", state, found.get((form.tools, form.calls), "the chat template shows none"))
