"""Prompts stored at training time, on which merged and served models are compared with the adapter model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from finetune.data.chat import (
    TrainingConversation,
    join_rows,
    message_turns,
    prompt_and_suffix,
    split_reasoning,
    to_messages,
    uses_prompt_suffix,
)
from finetune.data.collate import EXTRA_KEYS, Collator
from finetune.data.media import open_media, processor_arguments, set_frame_times
from finetune.data.plan import TrainingPlan
from finetune.data.rows import Rows, open_image, open_sets
from finetune.data.spans import prompt_text, render_with_spans
from finetune.data.template import PLAIN, Message, TemplateForm, UntrainableRow
from finetune.recipe import TrainRecipe
from winnow.errors import UserError
from winnow.files import write_text
from winnow.rows.records import Sample, Turn
from winnow.vlm.inputs import InputSettings

PROMPTS = "parity.jsonl"
KEPT = 16


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as the model was, or would have been, trained on it, with its reference answer.

    Attributes:
        turns: the fields of each turn, the answer included, with image markers.
        root, images: image root, and image paths relative to it.
        tools: definitions of the tools that may be called.
        tokens: token ids of the prompt, image tokens included, up to the answer.
        held_out: whether no stage trained on the row.
        videos, audios: paths of other files, as of ``TrainingConversation``.
    """

    sample_id: str
    turns: list[dict[str, Any]]
    root: str
    images: list[str]
    tools: list[Any]
    tokens: list[int]
    held_out: bool
    videos: list[str | list[str]] = field(default_factory=list)
    audios: list[str] = field(default_factory=list)

    @property
    def answer(self) -> str:
        """The text of the last turn."""
        return str(self.turns[-1]["value"])

    def conversation(self) -> TrainingConversation:
        """The question and its answer, which alone is trained."""
        *before, last = message_turns([Turn(**{**turn, "loss": None}) for turn in self.turns])
        turns = (*(replace(turn, loss=False) for turn in chain(*before)), *last)
        videos = tuple(video if isinstance(video, str) else tuple(video) for video in self.videos)
        return TrainingConversation(
            turns, tuple(self.images), (0,), 0, videos, tuple(self.audios), tuple(self.tools), (self.sample_id,)
        )

    def messages(self, form: TemplateForm = PLAIN) -> list[Message]:
        """Chat-template messages up to the answer, with text and image blocks."""
        return to_messages(self.conversation(), form)[:-1]

    def inputs(self, processor: Any, settings: InputSettings) -> Any:
        """The processor's tensors for the prompt, as at inference; a batch of 1."""
        opened = open_media(self.conversation(), Path(self.root), processor, settings)
        files = processor_arguments([opened], processor)
        if uses_prompt_suffix(processor):
            text, _ = prompt_and_suffix(self.conversation())
            return processor(text=[text], text_kwargs={"return_tensors": "pt"}, **files)
        text = prompt_text(processor, self.conversation(), settings)
        bos = processor.tokenizer.bos_token
        own_bos = bool(bos) and text.startswith(bos)
        output = processor(
            text=[text], text_kwargs={"return_tensors": "pt", "add_special_tokens": not own_bos}, **files
        )
        set_frame_times(output, [opened], processor)
        return output

    def answered(self, processor: Any, settings: InputSettings) -> tuple[dict[str, Any], Any]:
        """The collator's tensors with the reference answer, as in training, and the answer's bool mask (tokens,)."""
        batch = Collator(processor, Path(self.root), settings)([self.conversation()])
        return {key: value for key, value in batch.items() if key not in EXTRA_KEYS}, batch["owners"][0] == 0


def store_prompts(recipe: TrainRecipe, plan: TrainingPlan, processor: Any, folder: Path) -> bool:
    """Write ``parity.jsonl``: rows that no stage trains on, else rows of the evaluation sets, else trained rows.

    Returns:
        Whether the tokens of every prompt are the same at inference as in training.
    """
    rows, chosen, held_out = _held_out(recipe, plan, processor)
    lines, same = [], True
    for row in chosen:
        prompt = kept_prompt(rows[row], rows.image_root, held_out=held_out)
        try:
            ids = prompt.inputs(processor, recipe.input_settings)["input_ids"][0].tolist()
            trained, answer = prompt.answered(processor, recipe.input_settings)
        except UntrainableRow:
            continue  # its last answer has loss: false
        before = trained["input_ids"][0, : int(answer.nonzero()[0, 0])].tolist()
        same &= before[: len(ids) if len(before) > len(ids) and _reasons(prompt) else None] == ids
        lines.append(json.dumps({**asdict(prompt), "tokens": ids}, ensure_ascii=False))
    write_text(folder / PROMPTS, "".join(f"{line}\n" for line in lines))
    return same


def _reasons(prompt: Prompt) -> bool:
    """Whether the answer begins with reasoning, which the model writes between prompt and trained answer."""
    return any(split_reasoning(turn["value"])[0] is not None for turn in prompt.turns[-2:])


def _held_out(recipe: TrainRecipe, plan: TrainingPlan, processor: Any) -> tuple[Rows, list[int], bool]:
    """Rows, the chosen row numbers, and whether no stage trains on them."""
    rng = np.random.default_rng(recipe.seed)
    accepted = plan.checked.accepted.row
    trained = np.unique(np.concatenate([schedule.members for schedule in plan.schedules]))
    rest = np.setdiff1d(accepted, trained)
    candidates, held_out = (rest, True) if len(rest) >= KEPT else (trained, False)
    if held_out or not recipe.evaluate:
        return plan.rows, sorted(rng.permutation(candidates)[:KEPT].tolist()), held_out
    rows = open_sets(recipe.evaluate, None)
    drawn = rng.permutation(len(rows))[: 4 * KEPT].tolist()
    usable = [row for row in drawn if _usable(rows, row, processor, recipe.input_settings)]
    return rows, sorted(usable[:KEPT]), True


def _usable(rows: Rows, row: int, processor: Any, settings: InputSettings) -> bool:
    """Whether a row of an evaluation set is readable, ends in an answer that can be trained and has intact images.

    Rows with other files are not taken.
    """
    try:
        sample = rows[row]
        if sample.meta.get("videos") or sample.meta.get("audios"):
            return False
        for name in sample.image:
            open_image(rows.image_root, name)
        conversation = kept_prompt(sample, rows.image_root, held_out=True).conversation()
        return bool(render_with_spans(processor, conversation, settings).spans)
    except (UserError, ValueError):
        return False


def kept_prompt(sample: Sample, root: Path, *, held_out: bool) -> Prompt:
    """The question of a row as a prompt, its tokens not yet counted."""
    made = join_rows([sample], [0])
    turns = [asdict(turn) for turn in made.turns]
    videos = [video if isinstance(video, str) else list(video) for video in made.videos]
    tools = [dict(tool) for tool in made.tools]
    return Prompt(sample.id, turns, str(root), list(made.images), tools, [], held_out, videos, list(made.audios))


def read_prompts(run: Path, count: int) -> list[Prompt]:
    """The first ``count`` prompts of a run.

    Raises:
        UserError: the run has no prompts stored.
    """
    path = run / PROMPTS
    if not path.is_file():
        raise UserError(f"{path}: no such file; train the run again with --fresh to compare with it")
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Prompt(**json.loads(line)) for line in lines[:count]]
