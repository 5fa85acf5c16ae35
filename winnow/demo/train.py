"""Train the demo's own weights, on CPU and on clean easy-vqa train images: its CLIP, then the projector of its VLM.

The CLIP is a small open_clip model, trained from scratch. Each image is paired with every text that its own questions
prove true or false, under SigLIP's pairwise sigmoid loss (Zhai et al. 2023, arXiv:2303.15343): one threshold on the
cosine then separates fitting from unfitting texts whatever kind of question they hold, yes/no ones included.

The projector makes an image's tokens look like the words for what it shows. LLaVA's first stage trains it through the
language model, on captions. With a model this small that ends in tokens twenty times as long as any word's embedding,
which attention cannot match with the words of a question. Here it is regressed straight onto embeddings: every token
of an image of a red circle onto ``embedding(" red") + embedding(" circle")``.

    python -m winnow.demo.train clip --out winnow/demo/clip
    python -m winnow.demo.train projector --clip winnow/demo/clip
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn
from torch.nn import functional as F

from winnow import console
from winnow.demo import clip_tower
from winnow.demo.easy_vqa import (
    COLOURS,
    PHRASINGS,
    REQUESTS,
    SHAPES,
    answers_of,
    by_image,
    facts,
    image_paths,
    load_questions,
    question_type,
)
from winnow.demo.vlm import CLIP_FOLDER, FEATURE_LAYER, PROJECTOR_FILE, build_model, load_tokenizer
from winnow.files import atomic_path, write_json, write_text
from winnow.progress import Bar, track

CLASSES = [(colour, shape) for colour in COLOURS for shape in SHAPES]
MODEL_CFG: dict[str, Any] = {
    "embed_dim": 64,
    "init_logit_bias": -2,
    "vision_cfg": {"image_size": 48, "patch_size": 8, "width": 128, "layers": 3, "head_width": 32},
    # The text tower is narrow because CLIP's 49,408-token vocabulary would outweigh everything else.
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 3},
}
PREPROCESS_CFG: dict[str, Any] = {
    "size": 48,
    "mode": "RGB",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "interpolation": "bicubic",
    "resize_mode": "squash",
    "fill_color": 0,
}


def known_classes(split: str) -> dict[int, int]:
    """Image id → index into CLASSES, for images whose own questions give away both colour and shape."""
    classes = {}
    for image_id, asked in by_image(load_questions(split, None)).items():
        known = facts((question.text, question.answer) for question in asked)
        if known.colour and known.shape:
            classes[image_id] = CLASSES.index((known.colour, known.shape))
    return classes


def is_true(question: str, answer: str, colour: str, shape: str) -> bool:
    """Whether ``answer`` answers ``question`` about an image of one ``colour`` ``shape``."""
    words = question.rstrip("?").split()
    if answer in COLOURS:
        return answer == colour and not any(word in SHAPES and word != shape for word in words)
    if answer in SHAPES:
        return answer == shape and not any(word in COLOURS and word != colour for word in words)
    present = colour in words or shape in words
    negated = bool({"not", "no"} & set(words))
    return (present != negated) == (answer == "yes")


def texts_and_truth(questions: list[str]) -> tuple[list[str], np.ndarray]:
    """Every text of the domain, and the bool matrix (classes, texts) of which is true of which."""
    texts: list[str] = []
    truth: list[list[bool]] = []
    for question in sorted(set(questions)):
        for answer in answers_of(question_type(question)):
            texts.append(f"{question} {answer}")
            truth.append([is_true(question, answer, *made) for made in CLASSES])
    for phrasing in PHRASINGS:
        for request in ("", *REQUESTS):
            for index, (colour, shape) in enumerate(CLASSES):
                texts.append(f"{request} {phrasing.format(colour=colour, shape=shape)}".strip())
                truth.append([index == other for other in range(len(CLASSES))])
    return texts, np.array(truth).T


def load_images(paths: dict[int, Path], ids: list[int], preprocess: Any) -> Tensor:
    """Preprocessed images ``(N, 3, 48, 48)`` float32, in the order of ``ids``."""
    from PIL import Image

    return torch.stack([preprocess(Image.open(paths[image_id]).convert("RGB")) for image_id in ids])


def moved(pixels: Tensor) -> Tensor:
    """A batch ``(B, 3, S, S)`` shifted by up to S/8 and mirrored left-right at random: what it shows stays true."""
    size = pixels.shape[-1]
    reach = size // 8
    if random.random() < 0.5:
        pixels = pixels.flip(3)
    top, left = random.randint(0, 2 * reach), random.randint(0, 2 * reach)
    padded = F.pad(pixels, (reach, reach, reach, reach), mode="replicate")
    return padded[:, :, top : top + size, left : left + size]


def zero_shot_accuracy(model: Any, tokenizer: Any, images: Tensor, classes: Tensor) -> float:
    """Share of images whose own class has the nearest of the 24 captions 'a {colour} {shape}'."""
    texts = tokenizer([PHRASINGS[0].format(colour=colour, shape=shape) for colour, shape in CLASSES])
    model.eval()
    with torch.no_grad():
        text_features = model.encode_text(texts, normalize=True)  # (24, embed_dim)
        image_features = model.encode_image(images, normalize=True)  # (N, embed_dim)
    return float(((image_features @ text_features.T).argmax(1) == classes).float().mean())


def train_clip(seed: int, epochs: int, batch: int, texts_per_step: int, learning_rate: float) -> tuple[Any, float]:
    """Train from scratch; return the model (float32) and its accuracy on the test images."""
    import open_clip

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    model = open_clip.model.CLIP(
        **{**MODEL_CFG, "vision_cfg": open_clip.CLIPVisionCfg(**MODEL_CFG["vision_cfg"]),
           "text_cfg": open_clip.CLIPTextCfg(**MODEL_CFG["text_cfg"]), "init_logit_scale": np.log(10)}
    )  # fmt: skip
    preprocess = open_clip.transform.image_transform_v2(open_clip.transform.PreprocessCfg(**PREPROCESS_CFG), False)
    tokenizer = open_clip.SimpleTokenizer(context_length=MODEL_CFG["text_cfg"]["context_length"])

    known = known_classes("train")
    images = load_images(image_paths("train"), list(known), preprocess)
    classes = torch.tensor(list(known.values()))
    texts, truth_array = texts_and_truth([question.text for question in load_questions("train", None)])
    tokens, truth = tokenizer(texts), torch.from_numpy(truth_array).float()
    test_known = known_classes("test")
    test_images = load_images(image_paths("test"), list(test_known), preprocess)
    test_classes = torch.tensor(list(test_known.values()))

    steps = epochs * (len(images) // batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.05, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    with Bar("training CLIP (steps)", steps) as bar:
        for epoch in range(epochs):
            model.train()
            order = torch.randperm(len(images))
            for start in range(0, len(images) - batch + 1, batch):
                chosen = order[start : start + batch]
                asked = torch.randperm(len(texts))[:texts_per_step]
                image_features = model.encode_image(moved(images[chosen]), normalize=True)
                text_features = model.encode_text(tokens[asked], normalize=True)
                logits = model.logit_scale.exp() * image_features @ text_features.T + model.logit_bias
                signs = 2 * truth[classes[chosen]][:, asked] - 1
                # SigLIP sums over texts; the mean over them keeps the learning rate free of texts_per_step.
                loss = -F.logsigmoid(signs * logits).mean() * 20
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                bar.advance()
            if epoch % 5 == 4 or epoch + 1 == epochs:
                accuracy = zero_shot_accuracy(model, tokenizer, test_images, test_classes)
                print(f"epoch {epoch + 1}: loss {loss.item():.4f}, zero-shot accuracy on test images {accuracy:.4f}")
    return model, zero_shot_accuracy(model, tokenizer, test_images, test_classes)


def save_clip(model: Any, out: Path) -> None:
    """Write ``open_clip_config.json`` and float16 ``open_clip_model.safetensors`` as open_clip's local-dir wants."""
    from safetensors.torch import save_file

    write_json(out / "open_clip_config.json", {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG})
    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(out / "open_clip_model.safetensors") as temporary:
        save_file(weights, temporary)


def word_targets(embedding: Tensor, tokenizer: object) -> Tensor:
    """(24, width): for each colour × shape the sum of its two words' embeddings.

    A word of several tokens counts with their mean.
    """

    def word(text: str) -> Tensor:
        return embedding[tokenizer(f" {text}", add_special_tokens=False).input_ids].mean(dim=0)  # type: ignore[operator]

    return torch.stack([word(colour) + word(shape) for colour, shape in CLASSES])


def tower_features(tower: nn.Module, processor: object, split: str) -> tuple[Tensor, Tensor]:
    """Features (N, tokens, width) of the images whose class is known, and their classes (N,)."""
    from PIL import Image

    known, paths = known_classes(split), image_paths(split)
    features = []
    ids = list(known)
    with torch.no_grad():
        for start in range(0, len(ids), 256):
            images = [Image.open(paths[number]).convert("RGB") for number in ids[start : start + 256]]
            pixels = processor(images, return_tensors="pt").pixel_values  # type: ignore[operator]
            features.append(tower(pixels, output_hidden_states=True).hidden_states[FEATURE_LAYER])
    return torch.cat(features), torch.tensor(list(known.values()))


def fit_projector(projector: nn.Module, features: Tensor, targets: Tensor, steps: int, learning_rate: float) -> None:
    """Regress every token of ``features`` (N, tokens, width) onto its image's row of ``targets`` (N, hidden).

    Loss: 1 − cosine, plus the squared difference of the lengths.
    """
    optimizer = torch.optim.AdamW(projector.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    for _ in track(range(steps), "aligning the projector", steps):
        chosen = torch.randint(len(features), (64,))
        out = projector(features[chosen])
        wanted = targets[chosen][:, None].expand_as(out)
        loss = (1 - F.cosine_similarity(out, wanted, dim=-1)).mean()
        loss = loss + (out.norm(dim=-1) - wanted.norm(dim=-1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def nearest_word_accuracy(projector: nn.Module, features: Tensor, classes: Tensor, targets: Tensor) -> float:
    """Share of class tokens whose nearest target (of 24, by cosine) is that of their own image."""
    with torch.no_grad():
        tokens = F.normalize(projector(features[:, 0]), dim=-1)
    return float(((tokens @ F.normalize(targets, dim=-1).T).argmax(1) == classes).float().mean())


app = console.new_app("Train the demo's own weights.")


@app.command("clip")
def clip_command(
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint.")] = CLIP_FOLDER,
    seed: int = 0,
    epochs: int = 24,
    batch: Annotated[int, typer.Option(help="Images a step.")] = 64,
    texts: Annotated[int, typer.Option(help="Texts a step, drawn from all texts of the domain.")] = 128,
    learning_rate: float = 1e-3,
) -> None:
    """Train the CLIP and write it with its scores. Takes six minutes on one core."""
    model, accuracy = train_clip(seed, epochs, batch, texts, learning_rate)
    save_clip(model, out)
    write_text(out / "scores.json", json.dumps({"zero_shot_accuracy": accuracy}) + "\n")
    print(f"{out}: zero-shot accuracy {accuracy:.4f} on the test images")


@app.command("projector")
def projector_command(
    clip: Annotated[Path, typer.Option(help="Folder of the CLIP checkpoint; the projector goes there.")] = CLIP_FOLDER,
    steps: Annotated[int, typer.Option(help="Optimiser steps of 64 images.")] = 1200,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> None:
    """Align the projector and write it beside the CLIP. Takes a minute."""
    from safetensors.torch import save_file

    tokenizer = load_tokenizer()
    model = build_model(clip, tokenizer, use_projector_file=False).float()
    targets = word_targets(model.get_input_embeddings().weight.detach(), tokenizer)
    processor = clip_tower.image_processor(clip)
    features, classes = tower_features(model.model.vision_tower, processor, "train")
    projector = model.model.multi_modal_projector
    torch.manual_seed(seed)
    for layer in (projector.linear_1, projector.linear_2):
        layer.reset_parameters()
    nn.init.normal_(projector.linear_2.weight, std=0.3 / projector.linear_2.in_features**0.5)  # short, as words are
    fit_projector(projector, features, targets[classes], steps, learning_rate)
    accuracy = nearest_word_accuracy(projector, *tower_features(model.model.vision_tower, processor, "test"), targets)
    with atomic_path(clip / PROJECTOR_FILE) as temporary:
        save_file({name: value.detach().half() for name, value in projector.state_dict().items()}, temporary)
    print(f"{clip / PROJECTOR_FILE}: nearest words right on {accuracy:.1%} of the test images")


if __name__ == "__main__":
    console.run(app)
