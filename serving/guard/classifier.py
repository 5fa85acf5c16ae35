"""A text classifier of transformers from a local folder, as guards against prompt injection are published."""

from __future__ import annotations

from collections.abc import Callable

from winnow.errors import UserError

_AT_ONCE = 32  # pieces of a long text


def load_classifier(folder: str, label: str) -> Callable[[str], float]:
    """A function that gives the probability of ``label``; of a long text that of its worst piece, wherever it is.

    Raises:
        UserError: the folder has no such model, or the model no such label.
    """
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: no text classifier can be loaded ({' '.join(str(error).split())[:200]})") from error
    labels = {name: number for number, name in model.config.id2label.items()}
    if label not in labels:
        raise UserError(f"{folder}: has no label {label!r}; known: {', '.join(labels)}")
    model.eval()
    longest = min(tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", 512), 512)

    def score(text: str) -> float:
        pieces = tokenizer(
            text, truncation=True, max_length=longest, stride=longest // 8, return_overflowing_tokens=True,
            padding=True, return_tensors="pt",
        )  # fmt: skip
        with torch.inference_mode():
            worst = [
                model(input_ids=ids, attention_mask=mask).logits.softmax(-1)[:, labels[label]].max()
                for ids, mask in zip(
                    pieces["input_ids"].split(_AT_ONCE), pieces["attention_mask"].split(_AT_ONCE), strict=True
                )
            ]
        return float(torch.stack(worst).max())

    return score
