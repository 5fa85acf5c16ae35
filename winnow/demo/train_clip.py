"""Train the demo's CLIP: a small open_clip model on easy-vqa's train images, on CPU, from scratch.

Each image is paired with every text that its own questions prove true or false, under SigLIP's
pairwise sigmoid loss (Zhai et al. 2023, arXiv:2303.15343): one threshold on the cosine then
separates fitting from unfitting texts whatever kind of question they hold, yes/no ones included.

    python -m winnow.demo.train_clip --out winnow/demo/clip
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from winnow.demo.captions import PHRASINGS, REQUESTS
from winnow.demo.easy_vqa import (
    COLOURS,
    SHAPES,
    answers_of,
    by_image,
    facts,
    image_paths,
    load_questions,
    question_type,
)
from winnow.files import atomic_path, write_json, write_text
from winnow.progress import Bar

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


def train(
    seed: int, epochs: int, batch: int, texts_per_step: int, learning_rate: float
) -> tuple[Any, dict[str, float]]:
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
    return model, {"zero_shot_accuracy": zero_shot_accuracy(model, tokenizer, test_images, test_classes)}


def save(model: Any, out: Path) -> None:
    """Write ``open_clip_config.json`` and float16 ``open_clip_model.safetensors`` as open_clip's local-dir wants."""
    from safetensors.torch import save_file

    write_json(out / "open_clip_config.json", {"model_cfg": MODEL_CFG, "preprocess_cfg": PREPROCESS_CFG})
    weights = {name: value.detach().half().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(out / "open_clip_model.safetensors") as temporary:
        save_file(weights, temporary)


def main() -> None:
    """Parse the command line, train, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, default=Path("winnow/demo/clip"), help="folder of the checkpoint")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--texts", type=int, default=128, help="texts a step, drawn from all texts of the domain")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    model, scores = train(
        arguments.seed, arguments.epochs, arguments.batch, arguments.texts, arguments.learning_rate
    )  # fmt: skip
    save(model, arguments.out)
    write_text(arguments.out / "scores.json", json.dumps(scores) + "\n")
    print(f"{arguments.out}: zero-shot accuracy {scores['zero_shot_accuracy']:.4f} on the test images")


if __name__ == "__main__":
    main()
