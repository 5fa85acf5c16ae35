"""Does a text fit an image: the score of an image–text matching model of transformers, by its name.

BLIP's matching head reads image and text together (Li et al. 2022, arXiv:2201.12086): the column is its probability.
SigLIP was trained on single pairs (Zhai et al. 2023, arXiv:2303.15343): the column is its sigmoid. Of CLIP and of
models like it, which have no probability for one pair, it is the cosine. Weights are safetensors only, and no code of a
repository is run. Tested with small random weights of each kind; published weights were not run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from winnow.errors import UserError
from winnow.files import sha256_file
from winnow.remote.hub import cache_folder, why_offline


@dataclass(frozen=True)
class Matcher:
    """A loaded model."""

    _model: Any
    _processor: Any
    _padding: str
    _longest: int

    def scores(self, images: Sequence[Image.Image], texts: Sequence[str]) -> NDArray[np.float64]:
        """(n,) scores of n pairs of an RGB image and a text; a text that is too long is cut off."""
        import torch

        inputs = self._processor(
            images=list(images), text=list(texts), return_tensors="pt", padding=self._padding, truncation=True,
            max_length=self._longest,
        ).to(self._model.device)  # fmt: skip
        with torch.inference_mode():
            found = self._model(**inputs)
            if self._model.config.model_type == "blip":
                scores = found.itm_score.float().softmax(dim=-1)[:, 1]
            elif self._padding == "max_length":
                scores = found.logits_per_image.float().diagonal().sigmoid()
            else:
                scores = torch.nn.functional.cosine_similarity(found.image_embeds.float(), found.text_embeds.float())
        values: NDArray[np.float64] = scores.cpu().numpy().astype(np.float64)
        return values


def load_matcher(name: str) -> Matcher:
    """Load a model by its name on the hub, or from a local folder.

    Raises:
        UserError: it cannot be had, or is of a kind that does not score pairs.
    """
    import torch
    from transformers import AutoConfig, AutoModel, AutoProcessor, BlipForImageTextRetrieval

    offline = None if Path(name).is_dir() else why_offline()
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        kind: Any = BlipForImageTextRetrieval if config.model_type == "blip" else AutoModel
        model = kind.from_pretrained(name, trust_remote_code=False, use_safetensors=True)
        processor = AutoProcessor.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = f"{' '.join(str(error).split()):.300}"
        where = f"; it is not in the cache ({cache_folder()}), and {offline}" if offline else ""
        raise UserError(f"itm: {name!r} cannot be loaded ({reason}){where}; write `itm: null` to go on") from error
    if config.model_type != "blip" and not hasattr(model, "logit_scale"):
        raise UserError(f"itm: {name!r} is a {config.model_type}, which scores no pairs: name a BLIP, SigLIP or CLIP")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    longest = min(config.text_config.max_position_embeddings, getattr(processor.tokenizer, "model_max_length", 512))
    padding = "max_length" if config.model_type.startswith("siglip") else "longest"
    return Matcher(model.to(device).eval(), processor, padding, longest)


def matcher_name(name: str) -> str:
    """What changes when the weights do: of a local folder the digests of its files."""
    folder = Path(name)
    if not folder.is_dir():
        return name
    files = sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors", ".txt"))
    return " ".join(f"{path.name}:{sha256_file(path)[:16]}" for path in files)
