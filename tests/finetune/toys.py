"""What the tests use of the selftest's tiny LLaVA, and a chat template that TRL knows."""

from __future__ import annotations

from finetune.selftest.toy import (
    CHATML,
    COLOURS,
    build_processor,
    build_tokenizer,
    llava_config,
    record,
    save_data,
    save_model,
    write_rows,
)

__all__ = [
    "CHATML", "COLOURS", "GENERATION", "build_processor", "build_tokenizer", "llava_config", "record", "save_data",
    "save_model", "write_rows",
]  # fmt: skip

# TRL knows only templates that mark what the assistant says.
GENERATION = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['role'] == 'assistant' %}{% generation %}"
    "{% for b in m['content'] %}{{ b['text'] }}{% endfor %}<|im_end|>{% endgeneration %}\n{% else %}"
    "{% for b in m['content'] %}{% if b['type'] == 'image' %}<image>{% else %}{{ b['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
