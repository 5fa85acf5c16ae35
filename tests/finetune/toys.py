"""A tiny LLaVA, its tokenizer and rows about coloured squares, all built offline."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

COLOURS = {"red": (220, 30, 30), "green": (30, 180, 40), "blue": (30, 60, 220), "black": (5, 5, 5)}
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for b in m['content'] %}"
    "{% if b['type'] == 'image' %}<image>{% else %}{{ b['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# TRL knows only templates that mark what the assistant says.
GENERATION = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}{% generation %}"
    "{% for b in m['content'] %}{{ b['text'] }}{% endfor %}<|im_end|>{% endgeneration %}\n{% else %}"
    "{% for b in m['content'] %}{% if b['type'] == 'image' %}<image>{% else %}{{ b['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "what color is the square? red green blue black", "is it red? yes no", "user assistant system",
    "describe the image: a red square", "USER: ASSISTANT: Answer briefly. thought", "é ü 汉字",
]  # fmt: skip


def build_tokenizer(special: tuple[str, ...] = ("<|im_start|>", "<|im_end|>", "<image>", "<pad>"), **kwargs):
    """A byte-level BPE tokenizer that knows ``special`` as control tokens."""
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=list(special), initial_alphabet=alphabet)
    core.train_from_iterator(CORPUS, trainer)
    options = {"eos_token": "<|im_end|>", "pad_token": "<pad>", **kwargs}
    return PreTrainedTokenizerFast(tokenizer_object=core, **options)


def build_processor(template: str | None = CHATML):
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


def llava_config(tokenizer):
    """Configuration of the tiny LLaVA."""
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


def record(number: int, image: str | None, question: str, answer: str, **extra) -> dict:
    row = {"id": f"toy/train/{number}", "source": "toy", "split": "train", "answers": [answer], "meta": {}}
    if image:
        row["image"] = image
    row["conversations"] = [{"from": "user", "value": question}, {"from": "assistant", "value": answer}]
    return {**row, **extra}


def write_rows(path: Path, records: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in records), encoding="utf-8")
    return path
