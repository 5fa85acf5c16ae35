"""BERTScore (Zhang et al. 2020): token similarity of a text with its best reference, through the library bert-score.

Precision, recall and F1 are mean cosines, without idf weights and without rescaling; an empty text scores 0. The
default is roberta-large, at the layer that the library chose for it; other models give other numbers.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evalsuite.metrics.base import Answers, Metric, MetricOptions, Quantity, Scores, mean_scores
from winnow.errors import UserError
from winnow.remote.hub import why_offline
from winnow.vlm.models import first_line

_MODEL = "roberta-large"


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    try:
        import bert_score
    except ImportError as error:
        raise UserError('bertscore needs the library bert-score: pip install "winnow-vlm[bertscore]"') from error
    model = options.model or _MODEL
    references = [[one for one in given if one.strip()] for given in answers.references]
    asked = [row for row, text in enumerate(answers.texts) if text and text.strip() and references[row]]
    pairs = [answers.texts[row] for row in asked], [references[row] for row in asked]
    values = np.zeros((3, len(references)))
    try:
        layers = bert_score.utils.model2layers.get(model) or _all_layers(model)
        if asked:
            found = bert_score.score(*pairs, model_type=model, num_layers=layers)
            values[:, asked] = [part.numpy() for part in found]
    except (OSError, ValueError) as error:
        offline = None if Path(model).is_dir() else why_offline()
        hint = f"; {offline}: `model:` of the metric can name a folder" if offline else ""
        raise UserError(f"bertscore: model {model} does not load ({first_line(error)}){hint}") from error
    variant = f"BERTScore of {model}, layer {layers}, best reference, no idf, not rescaled"
    names = ("precision", "recall", "f1")
    return {f"_{name}": mean_scores(part, f"{name}, {variant}") for name, part in zip(names, values, strict=True)}


def _all_layers(model: str) -> int:
    from transformers import AutoConfig

    layers: int = AutoConfig.from_pretrained(model).num_hidden_layers
    return layers


BERTSCORE = Metric(
    name="bertscore",
    about="Similarity of a text's tokens with those of a reference in BERT's embeddings (Zhang et al. 2020).",
    numbers={
        "_f1": Quantity(title="BERTScore F1"),
        "_precision": Quantity(title="BERTScore precision"),
        "_recall": Quantity(title="BERTScore recall"),
    },
    score=_score,
    options=("model",),
)
