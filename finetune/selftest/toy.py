"""A tiny LLaVA with random weights, its tokenizer and rows about coloured squares, built without a download."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 60, 220), "black": (5, 5, 5)}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for b in m['content'] %}"
    "{% if b['type'] == 'image' %}<image>{% else %}{{ b['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_CORPUS = [
    "what color is the square? red green blue black", "is it red? yes no", "user assistant system",
    "describe the image: a red square", "USER: ASSISTANT: Answer briefly. thought", "é ü 汉字",
]  # fmt: skip


def build_tokenizer(special: Iterable[str] = ("<|im_start|>", "<|im_end|>", "<image>", "<pad>"), **options: Any) -> Any:
    """A byte-level BPE tokenizer that knows ``special`` as control tokens.

    Args:
        options: of ``PreTrainedTokenizerFast``.
    """
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(special), initial_alphabet=alphabet)
    core.train_from_iterator(_CORPUS, trainer)
    options = {"eos_token": "<|im_end|>", "pad_token": "<pad>", **options}
    return PreTrainedTokenizerFast(tokenizer_object=core, **options)


def build_processor(template: str | None = CHATML) -> Any:
    """A LLaVA processor: 16-pixel images, 5 image tokens."""
    from transformers import CLIPImageProcessor, LlavaProcessor

    side = {"height": 16, "width": 16}
    return LlavaProcessor(
        image_processor=CLIPImageProcessor(size=side, crop_size=side),
        tokenizer=build_tokenizer(),
        patch_size=8,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=1,
        chat_template=template,
    )


def llava_config(tokenizer: Any) -> Any:
    """Configuration of the tiny LLaVA: 2 blocks of the tower, 2 of the decoder."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8,
        projection_dim=32,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id, bos_token_id=None,
    )  # fmt: skip
    return LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1, vision_feature_select_strategy="full",
    )  # fmt: skip


def save_model(folder: Path, embeddings: float = 1.0) -> Path:
    """Write the tiny LLaVA with random bfloat16 weights.

    Args:
        embeddings: factor of the embeddings, which are the output layer too. Random ones are so small that little can
            be learned on top of them.
    """
    import torch
    from transformers import LlavaForConditionalGeneration

    processor = build_processor()
    torch.manual_seed(0)
    model: Any = LlavaForConditionalGeneration(llava_config(processor.tokenizer))
    model.get_input_embeddings().weight.data *= embeddings
    model.bfloat16().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def record(number: int, image: str | None, question: str, answer: str, **more: Any) -> dict[str, Any]:
    """A row with a question and its answer."""
    row: dict[str, Any] = {
        "id": f"toy/train/{number}",
        "source": "toy",
        "split": "train",
        "answers": [answer],
        "meta": {},
    }
    if image:
        row["image"] = image
    row["conversations"] = [{"from": "user", "value": question}, {"from": "assistant", "value": answer}]
    return {**row, **more}


def write_rows(path: Path, records: Iterable[dict[str, Any]]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in records), encoding="utf-8")
    return path


def save_data(folder: Path) -> Path:
    """Write 36 questions about 12 squares and 6 captions as JSON lines, with the images beside them."""
    from PIL import Image

    rows: list[dict[str, Any]] = []
    for number in range(12):
        name, colour = list(COLOURS.items())[number % 4]
        Image.new("RGB", (16 + number, 16), colour).save(folder / f"{number}.png")
        for question, answer in (
            ("what color is the square?", name),
            ("is it red?", "yes" if name == "red" else "no"),
            ("is it blue?", "yes" if name == "blue" else "no"),
        ):
            rows.append(record(len(rows), f"{number}.png", f"<image>\n{question}", answer))
        if number < 6:
            caption = {"source": "captions", "id": f"captions/train/{number}", "answers": [f"a {name} square", name]}
            rows.append(record(len(rows), f"{number}.png", "describe the image", f"a {name} square", **caption))
    return write_rows(folder / "rows.jsonl", rows)
