"""Which model answers: a digest of all that decides its words, and the machine's part in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evalsuite.recipe import ModelSettings
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file

# What decides a checkpoint's answers: weights, configuration, tokenizer, processor, chat template.
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
_NOT_THE_MODEL = ("manifest.json", "training_args.json", "trainer_state.json")


def model_digest(settings: ModelSettings) -> str:
    """Digest of the weights, configuration and the way they are loaded.

    A hub id counts with its revision; folders count by content, so a checkpoint that was
    overwritten in place is another model.

    Raises:
        UserError: a folder is missing, or holds no safetensors weights.
    """
    parts: dict[str, Any] = settings.model_dump(mode="json", exclude={"path", "adapter", "share_prefix"})
    parts["dtype"], parts["device"] = resolve_dtype(settings), resolve_device(settings)
    parts["model"] = _folder_digest(Path(settings.path)) if Path(settings.path).is_dir() else settings.path
    if settings.adapter is not None:
        if not (settings.adapter / "adapter_config.json").is_file():
            if (settings.adapter / "config.json").is_file():
                raise UserError(
                    f"{settings.adapter}: a whole checkpoint, no adapter; give it as `path` without `adapter`"
                )
            raise UserError(f"{settings.adapter}: no adapter there (adapter_config.json); train one first")
        parts["adapter"] = _folder_digest(settings.adapter)
    return digest_of(parts)


def _folder_digest(folder: Path) -> str:
    files = {path.name: path for pattern in _MODEL_FILES for path in folder.glob(pattern)}
    if not any(name.endswith(".safetensors") for name in files):
        raise UserError(f"{folder}: holds no .safetensors weights")
    return digest_of({name: sha256_file(path) for name, path in sorted(files.items()) if name not in _NOT_THE_MODEL})


def resolve_device(settings: ModelSettings) -> str:
    """``auto`` as a device name."""
    if settings.device != "auto":
        return settings.device
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_dtype(settings: ModelSettings) -> str:
    """``auto`` as a dtype name: bfloat16 where it is fast, else float32."""
    if settings.dtype != "auto":
        return settings.dtype
    import torch

    if resolve_device(settings).startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if native else "float32"
