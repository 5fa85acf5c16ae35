"""Prompts stored at training time, on which merged and served models are compared with the adapter model."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from finetune.data.chat import Message, TrainingConversation, prompt_and_suffix, to_messages, uses_prompt_suffix
from finetune.data.collate import EXTRA_KEYS, Collator
from finetune.data.plan import TrainingPlan
from finetune.data.rows import Rows, open_image, open_sets
from finetune.recipe import TrainRecipe
from winnow.conversations import Role
from winnow.errors import UserError
from winnow.files import write_text
from winnow.records import Sample, Turn

PROMPTS = "parity.jsonl"
KEPT = 16


@dataclass(frozen=True, slots=True)
class Prompt:
    """A question as the model was, or would have been, trained on it.

    Attributes:
        turns: (role, text) up to and including the question, with image markers.
        root, images: image root, and image paths relative to it.
        answer: the reference answer.
        tokens: token ids of the prompt, image tokens included, up to the answer.
        held_out: whether no stage trained on the row.
    """

    sample_id: str
    turns: list[list[str]]
    root: str
    images: list[str]
    answer: str
    tokens: list[int]
    held_out: bool

    def _turns(self) -> tuple[Turn, ...]:
        return tuple(Turn(cast(Role, role), text) for role, text in self.turns)

    def messages(self) -> list[Message]:
        """Chat-template messages with text and image blocks."""
        return to_messages(TrainingConversation(self._turns(), tuple(self.images), ()))

    def inputs(self, processor: Any, max_pixels: int | None) -> Any:
        """The processor's tensors for the prompt, as at inference; a batch of 1."""
        images = [open_image(Path(self.root), name, max_pixels) for name in self.images]
        if uses_prompt_suffix(processor):
            text, _ = prompt_and_suffix(self._with_answer())
            return processor(text=[text], images=[images] if images else None, return_tensors="pt")
        text = processor.apply_chat_template(self.messages(), tokenize=False, add_generation_prompt=True)
        bos = processor.tokenizer.bos_token
        own_bos = bool(bos) and text.startswith(bos)
        return processor(
            text=[text], images=[images] if images else None, return_tensors="pt", add_special_tokens=not own_bos
        )

    def answered(self, processor: Any, max_pixels: int | None) -> tuple[dict[str, Any], Any]:
        """The collator's tensors with the reference answer, as in training, and the answer's bool mask (tokens,)."""
        batch = Collator(processor, Path(self.root), max_pixels)([self._with_answer()])
        last = batch["owners"][0] == batch["owners"].max()
        return {key: value for key, value in batch.items() if key not in EXTRA_KEYS}, last

    def _with_answer(self) -> TrainingConversation:
        turns = (*self._turns(), Turn("assistant", self.answer))
        answers = sum(turn.role == "assistant" for turn in turns)
        return TrainingConversation(turns, tuple(self.images), tuple(range(answers)))


def store_prompts(recipe: TrainRecipe, plan: TrainingPlan, processor: Any, folder: Path) -> bool:
    """Write ``parity.jsonl``: rows that no stage trains on, else rows of the evaluation sets, else trained rows.

    Returns:
        Whether the tokens of every prompt are the same at inference as in training.
    """
    rows, chosen, held_out = _held_out(recipe, plan)
    lines, same = [], True
    for row in chosen:
        prompt = _prompt(rows[row], rows.image_root, held_out)
        ids = prompt.inputs(processor, recipe.max_pixels)["input_ids"][0].tolist()
        trained, answer = prompt.answered(processor, recipe.max_pixels)
        same &= trained["input_ids"][0, : int(answer.nonzero()[0, 0])].tolist() == ids
        lines.append(json.dumps({**asdict(prompt), "tokens": ids}, ensure_ascii=False))
    write_text(folder / PROMPTS, "".join(f"{line}\n" for line in lines))
    return same


def _held_out(recipe: TrainRecipe, plan: TrainingPlan) -> tuple[Rows, list[int], bool]:
    """Rows, the chosen row numbers, and whether no stage trains on them."""
    rng = np.random.default_rng(recipe.seed)
    accepted = plan.checked.accepted.row
    trained = np.unique(np.concatenate([schedule.members for schedule in plan.schedules]))
    rest = np.setdiff1d(accepted, trained)
    candidates, held_out = (rest, True) if len(rest) >= KEPT else (trained, False)
    if held_out or not recipe.evaluate:
        return plan.rows, sorted(rng.permutation(candidates)[:KEPT].tolist()), held_out
    rows = open_sets(recipe.evaluate, None)
    usable = [row for row in rng.permutation(len(rows))[: 4 * KEPT].tolist() if _usable(rows, row)]
    return rows, sorted(usable[:KEPT]), True


def _usable(rows: Rows, row: int) -> bool:
    """Whether a row of an evaluation set is readable, ends in an answer and has intact images."""
    try:
        sample = rows[row]
        for name in sample.image:
            open_image(rows.image_root, name)
    except (UserError, ValueError):
        return False
    return sample.conversations[-1].role == "assistant"


def _prompt(sample: Sample, root: Path, held_out: bool) -> Prompt:
    turns = [[turn.role, turn.value] for turn in sample.conversations[:-1]]
    return Prompt(sample.id, turns, str(root), list(sample.image), sample.conversations[-1].value, [], held_out)


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
