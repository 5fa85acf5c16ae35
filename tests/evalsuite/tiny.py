"""A tiny LLaVA with random weights, images and questions, made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

COLOURS = {"red": (220, 30, 30), "green": (30, 160, 60), "blue": (40, 60, 220), "gray": (128, 128, 128)}
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for b in m['content'] %}"
    "{% if b['type'] == 'image' %}<image>{% else %}{{ b['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tokenizer():
    """Byte-level BPE with ChatML tokens and an image token."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<pad>", "<|im_start|>", "<|im_end|>", "<image>"]
    text = ["what is the color of the shape? red green blue gray yes no is there a circle in the image. user assistant"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        text, trainers.BpeTrainer(vocab_size=360, special_tokens=special, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<pad>",
        extra_special_tokens={"image_token": "<image>"},
    )


def build_model(folder: Path, seed: int = 0) -> Path:
    """Save a checkpoint of about 40 k parameters, with its processor."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )  # fmt: skip

    tokenizer = build_tokenizer()
    image_processor = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        image_processor=image_processor, tokenizer=tokenizer, patch_size=8, num_additional_image_tokens=1,
        vision_feature_select_strategy="default", chat_template=TEMPLATE,
    )  # fmt: skip
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=16,
                patch_size=8,
            ),
            text_config=LlamaConfig(
                vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
            ),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"), image_seq_length=4,
            vision_feature_layer=-1, vision_feature_select_strategy="default",
        )
    )  # fmt: skip
    for parameter in model.parameters():  # larger weights, so that different inputs give different words
        torch.nn.init.normal_(parameter, std=0.25)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def build_data(folder: Path, images: int = 6, questions: int = 5) -> Path:
    """Images in ``images/`` and ``test.jsonl`` with questions about them; the last row has no image."""
    (folder / "images").mkdir(parents=True)
    names = list(COLOURS)
    asked = [
        "what is the color?",
        "is it red?",
        "what color is the shape in the image?",
        "is there a circle?",
        "name it",
    ]
    rows = []
    for number in range(images):
        colour = names[number % len(names)]
        image = Image.new("RGB", (20 + number, 20), COLOURS[colour])
        image.putpixel((number, 3), (255, 255, 0))
        image.save(folder / "images" / f"{number}.png")
        for which in range(questions):
            answer = colour if which in (0, 2, 4) else ("yes" if colour == "red" else "no")
            kind = "yes_no" if which in (1, 3) else "color"
            rows.append(_row(f"{number}-{which}", f"images/{number}.png", asked[which % len(asked)], answer, kind))
    rows.append(_row("lost", "images/nowhere.png", asked[0], "red", "color"))
    path = folder / "test.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def _row(name: str, image: str, question: str, answer: str, kind: str) -> dict:
    return {
        "id": f"tiny/test/{name}", "image": image, "source": "tiny", "split": "test",
        "conversations": [{"from": "user", "value": question}, {"from": "assistant", "value": answer}],
        "answers": [answer], "meta": {"question_type": kind},
    }  # fmt: skip


def task_text(data: Path, extra: str = "") -> str:
    """A task file over ``data``."""
    return (
        f"name: tiny\nsource: {{location: {data}, image_root: {data.parent}}}\n"
        "generation: {max_new_tokens: 6}\nmetrics: [accuracy, cider, bleu]\nslices: [question_type]\n" + extra
    )


def recipe_text(name: str, out: Path, model: Path, task: Path, extra: str = "") -> str:
    """A recipe that evaluates ``model`` on ``task`` in float32, in units of two images."""
    return (
        f"name: {name}\nout: {out}\nmodel: {{path: {model}, dtype: float32, device: cpu}}\n"
        f"tasks: [{task}]\nbatch_size: 2\n" + extra
    )
