"""Align the demo's projector: make the image's tokens look like the words for what it shows.

LLaVA's first stage trains the projector through the language model, on captions. With a model this
small that ends in tokens twenty times as long as any word's embedding, which attention cannot match
with the words of a question. Here the projector is regressed straight onto embeddings: every token of an
image of a red circle onto ``embedding(" red") + embedding(" circle")``. It takes a minute.

    python -m winnow.demo.align_projector
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from winnow import console
from winnow.demo import clip_tower, smollm2
from winnow.demo.easy_vqa import image_paths
from winnow.demo.train_clip import CLASSES, known_classes
from winnow.demo.vlm import CLIP_FOLDER, FEATURE_LAYER, PROJECTOR_FILE, build_model
from winnow.files import atomic_path
from winnow.progress import track

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 64

app = console.new_app(single_command=True)


def word_targets(embedding: Tensor, tokenizer: object) -> Tensor:
    """(24, width): for each colour × shape the sum of its two words' embeddings.

    A word of several tokens counts with their mean.
    """
    import torch

    def word(text: str) -> Tensor:
        return embedding[tokenizer(f" {text}", add_special_tokens=False).input_ids].mean(dim=0)  # type: ignore[operator]

    return torch.stack([word(colour) + word(shape) for colour, shape in CLASSES])


def tower_features(tower: nn.Module, processor: object, split: str) -> tuple[Tensor, Tensor]:
    """Features (N, tokens, width) of the images whose class is known, and their classes (N,)."""
    import torch
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


def fit(projector: nn.Module, features: Tensor, targets: Tensor, steps: int, learning_rate: float) -> None:
    """Regress every token of ``features`` (N, tokens, width) onto its image's row of ``targets`` (N, hidden).

    Loss: 1 − cosine, plus the squared difference of the lengths.
    """
    import torch
    from torch.nn import functional

    optimizer = torch.optim.AdamW(projector.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    for _ in track(range(steps), "aligning the projector", steps):
        chosen = torch.randint(len(features), (_BATCH,))
        out = projector(features[chosen])
        wanted = targets[chosen][:, None].expand_as(out)
        loss = (1 - functional.cosine_similarity(out, wanted, dim=-1)).mean()
        loss = loss + (out.norm(dim=-1) - wanted.norm(dim=-1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def nearest_word_accuracy(projector: nn.Module, features: Tensor, classes: Tensor, targets: Tensor) -> float:
    """Share of class tokens whose nearest target (of 24, by cosine) is that of their own image."""
    import torch
    from torch.nn import functional

    with torch.no_grad():
        tokens = functional.normalize(projector(features[:, 0]), dim=-1)
    return float(((tokens @ functional.normalize(targets, dim=-1).T).argmax(1) == classes).float().mean())


@app.command()
def main(
    clip: Annotated[Path, typer.Option(help="Folder of the CLIP checkpoint; the projector goes there.")] = CLIP_FOLDER,
    steps: Annotated[int, typer.Option(help="Optimiser steps of 64 images.")] = 1200,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> None:
    """Align the projector on clean easy-vqa train images and write projector.safetensors beside the CLIP."""
    import torch
    from safetensors.torch import save_file
    from torch import nn

    tokenizer = smollm2.tokenizer()
    model = build_model(clip, tokenizer, use_projector_file=False).float()
    targets = word_targets(model.get_input_embeddings().weight.detach(), tokenizer)
    processor = clip_tower.image_processor(clip)
    features, classes = tower_features(model.model.vision_tower, processor, "train")
    projector = model.model.multi_modal_projector
    torch.manual_seed(seed)
    for layer in (projector.linear_1, projector.linear_2):
        layer.reset_parameters()
    nn.init.normal_(projector.linear_2.weight, std=0.3 / projector.linear_2.in_features**0.5)  # short, as words are
    fit(projector, features, targets[classes], steps, learning_rate)
    accuracy = nearest_word_accuracy(projector, *tower_features(model.model.vision_tower, processor, "test"), targets)
    with atomic_path(clip / PROJECTOR_FILE) as temporary:
        save_file({name: value.detach().half() for name, value in projector.state_dict().items()}, temporary)
    print(f"{clip / PROJECTOR_FILE}: nearest words right on {accuracy:.1%} of the test images")


if __name__ == "__main__":
    console.run(app)
