"""A checkpoint on this machine: which model it is, as a digest, and how it is loaded, with adapter and in 4-bit."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalsuite.backends.text import TextProcessor
from evalsuite.recipe import ModelSettings
from winnow.errors import UserError
from winnow.files import digest_of, sha256_file
from winnow.remote.downloads import fetch, local_model, parse, plain_name
from winnow.vlm import models
from winnow.vlm.inputs import InputSettings, apply_to_model, apply_to_processor, read_input_settings
from winnow.vlm.models import checkpoint, empty_model, load_failed, nf4_config, prepare_libraries

if TYPE_CHECKING:
    import torch


# What decides a checkpoint's answers: weights, configuration, tokenizer, processor, chat template.
_MODEL_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "*.txt")
_NOT_THE_MODEL = ("manifest.json", "training_args.json", "trainer_state.json")


def pinned_model(settings: ModelSettings) -> ModelSettings:
    """The settings with the commit that a branch or tag of the Hugging Face hub stands for now.

    Raises:
        UserError: there is no such model, or it can neither be found here nor be reached.
    """
    if Path(settings.path).is_dir():
        return settings
    named = parse(settings.path, "model")
    commit = fetch(replace(named, revision=settings.revision or named.revision), weights=False).commit
    return settings.model_copy(update={"revision": commit or settings.revision})


def model_digest(settings: ModelSettings) -> str:
    """Digest of the weights, configuration and the way they are loaded.

    A model of the Hugging Face hub counts with its commit; others by content, so a checkpoint that was
    overwritten in place is another model.

    Args:
        settings: see ``pinned_model``.

    Raises:
        UserError: a folder is missing, or holds no safetensors weights.
    """
    parts: dict[str, Any] = settings.model_dump(mode="json", exclude={"path", "adapter", "share_prefix"})
    parts["dtype"], parts["device"] = resolve_dtype(settings), resolve_device(settings)
    site = None if Path(settings.path).is_dir() else parse(settings.path, "model").site
    folder = None if site == "hub" else local_model(settings.path, revision=settings.revision)
    parts["model"] = _folder_digest(folder) if folder else plain_name(settings.path)
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


@dataclass(frozen=True)
class Loaded:
    """A model ready to answer.

    Attributes:
        model: in eval mode, on its device.
        processor: of the adapter folder if it has one, else of the checkpoint.
        inputs: how images and chats were prepared when the model was trained.
        end_tokens: ids that end an answer.
    """

    model: Any
    processor: Any
    device: torch.device
    end_tokens: frozenset[int]
    inputs: InputSettings = field(default_factory=InputSettings)


def input_settings(settings: ModelSettings) -> InputSettings:
    """How images and chats were prepared when the model was trained; the defaults if it was not by `finetune`.

    Raises:
        UserError: the settings stored beside the weights cannot be read.
    """
    return read_input_settings(settings.adapter or Path(settings.path))


def load_processor(settings: ModelSettings) -> Any:
    """The processor, with padding on the left; of a language model without images a ``TextProcessor``.

    It prepares images as they were prepared in training, see ``input_settings``.

    Raises:
        UserError: nothing loadable there, or it has no chat template.
    """
    adapter = settings.adapter
    own = adapter is not None and models.has_processor(adapter)
    place = str(adapter) if own else settings.path
    processor = models.load_processor(place, revision=None if own else settings.revision)
    if hasattr(processor, "tokenizer"):
        apply_to_processor(processor, input_settings(settings))
    else:
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
    folder = checkpoint(settings.path, revision=settings.revision)
    prepare_libraries()
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind: Any = AutoModelForCausalLM if isinstance(processor, TextProcessor) else AutoModelForImageTextToText
    dtype, device = getattr(torch, resolve_dtype(settings)), torch.device(resolve_device(settings))
    four_bit = settings.quantization == "nf4"
    skeleton = empty_model(settings.path, revision=settings.revision) if four_bit else None
    try:
        model = kind.from_pretrained(
            folder,
            dtype=dtype,
            quantization_config=nf4_config(skeleton, dtype) if four_bit else None,
            use_safetensors=True,
            trust_remote_code=False,
            **({"device_map": {"": str(device)}} if four_bit else {}),
        )
    except (OSError, ValueError) as error:
        raise load_failed(settings.path, "does not load", error) from error
    inputs = input_settings(settings)
    apply_to_model(model, inputs)
    if four_bit:
        _spare_narrow_layers(model)
    if settings.adapter is not None:
        model = _with_adapter(model, settings.adapter, four_bit, merge=settings.merge_adapter == "dequantized")
        if settings.merge_adapter == "dequantized":
            model = model.to(dtype)
    if not getattr(model, "is_quantized", False):
        model = model.to(device)
    model.eval()
    return Loaded(model, processor, device, end_tokens(model, processor.tokenizer), inputs)


def _with_adapter(model: Any, adapter: Path, four_bit: bool, *, merge: bool) -> Any:
    from winnow.vlm.experts import load_adapter

    if merge and four_bit:
        # Merging inside 4-bit layers, or into the original weights, gives another function than
        # the one that was trained (relative error 0.14 and 0.16, against 0.005 for this way).
        model = model.dequantize()
    wrapped = load_adapter(model, adapter)
    return wrapped.merge_and_unload() if merge else wrapped


def _spare_narrow_layers(model: Any) -> None:
    """Keep bitsandbytes from packing layers for its AVX512-BF16 kernel that do not consist of whole blocks."""
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit) and module.in_features % getattr(module.weight, "blocksize", 64):
            module.support_avx512bf16_for_cpu = False


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Ids of the tokens that end an answer."""
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(token for token in [*listed, tokenizer.eos_token_id] if token is not None)
