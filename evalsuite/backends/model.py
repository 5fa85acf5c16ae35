"""A checkpoint on this machine: which model it is, as a digest, and how it is loaded, with adapter and in 4-bit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalsuite.backends.text import TextProcessor
from evalsuite.recipe import ModelSettings
from winnow import models
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file
from winnow.models import empty_model, first_line, load_failed, nf4_config, offline_if_local, prepare_libraries

if TYPE_CHECKING:
    import torch


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


_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer.

    Attributes:
        model: in eval mode, on its device.
        processor: of the adapter folder if it has one, else of the checkpoint.
        end_tokens: ids that end an answer.
    """

    model: Any
    processor: Any
    device: torch.device
    end_tokens: frozenset[int]


def load_processor(settings: ModelSettings) -> Any:
    """The processor, with padding on the left; of a language model without images a ``TextProcessor``.

    Raises:
        UserError: nothing loadable there, or it has no chat template.
    """
    adapter = settings.adapter
    own = adapter is not None and any((adapter / name).is_file() for name in _PROCESSOR_FILES)
    place = str(adapter) if own else settings.path
    offline_if_local(settings.path)  # which an adapter's processor must not leave open
    processor = models.load_processor(place, revision=None if own else settings.revision)
    if not hasattr(processor, "tokenizer"):
        processor = TextProcessor(processor)
    if getattr(processor, "chat_template", None) is None:
        raise UserError(f"model {place}: its processor has no chat template, so it cannot be asked")
    processor.tokenizer.padding_side = "left"
    if processor.tokenizer.pad_token_id is None:
        processor.tokenizer.pad_token = processor.tokenizer.eos_token
    return processor


def load_model(settings: ModelSettings, processor: Any) -> Loaded:
    """Load weights and adapter.

    Raises:
        UserError: nothing loadable there, or the adapter does not fit.
    """
    offline_if_local(settings.path)
    prepare_libraries()
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind: Any = AutoModelForCausalLM if isinstance(processor, TextProcessor) else AutoModelForImageTextToText
    dtype, device = getattr(torch, resolve_dtype(settings)), torch.device(resolve_device(settings))
    four_bit = settings.quantization == "nf4"
    skeleton = empty_model(settings.path, revision=settings.revision) if four_bit else None
    try:
        model = kind.from_pretrained(
            settings.path,
            revision=settings.revision,
            dtype=dtype,
            quantization_config=nf4_config(skeleton, dtype) if four_bit else None,
            use_safetensors=True,
            trust_remote_code=False,
            **({"device_map": {"": str(device)}} if four_bit else {}),
        )
    except (OSError, ValueError) as error:
        raise load_failed(settings.path, "does not load", error) from error
    if four_bit:
        _spare_narrow_layers(model)
    if settings.adapter is not None:
        model = _with_adapter(model, settings.adapter, four_bit, merge=settings.merge_adapter == "dequantized")
        if settings.merge_adapter == "dequantized":
            model = model.to(dtype)
    if not getattr(model, "is_quantized", False):
        model = model.to(device)
    model.eval()
    return Loaded(model, processor, device, _end_tokens(model, processor.tokenizer))


def _with_adapter(model: Any, adapter: Path, four_bit: bool, *, merge: bool) -> Any:
    from peft import PeftModel

    if merge and four_bit:
        # Merging inside 4-bit layers, or into the original weights, gives another function than
        # the one that was trained (relative error 0.14 and 0.16, against 0.005 for this way).
        model = model.dequantize()
    try:
        wrapped = PeftModel.from_pretrained(model, str(adapter), is_trainable=False, use_safetensors=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"adapter {adapter}: does not fit the model ({first_line(error)})") from error
    return wrapped.merge_and_unload() if merge else wrapped


def _spare_narrow_layers(model: Any) -> None:
    """Keep bitsandbytes from packing layers for its AVX512-BF16 kernel that do not consist of whole blocks."""
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit) and module.in_features % getattr(module.weight, "blocksize", 64):
            module.support_avx512bf16_for_cpu = False


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [*listed, tokenizer.eos_token_id] if token is not None)
