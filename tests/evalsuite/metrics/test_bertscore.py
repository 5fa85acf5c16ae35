"""BERTScore through bert-score with a tiny model made here; what is missing is named."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from evalsuite.metrics import METRICS, Answers, MetricColumn, MetricOptions
from winnow.errors import UserError

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "dog", "cat", "runs", "blue"]


def columns(model: str) -> dict[str, MetricColumn]:
    rows = Answers(ids=["a", "b", "c"], texts=["a red dog", "a cat", None],
                   references=[["a dog", "a red dog"], ["blue runs"], ["a"]])  # fmt: skip
    found = METRICS["bertscore"].columns("bertscore", rows, MetricOptions(model=model))
    return {column.name: column for column in found}


def test_the_best_reference_counts_and_silence_scores_0(tmp_path: Path) -> None:
    pytest.importorskip("bert_score")
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(tmp_path / "vocab.txt"), model_max_length=64).save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2)
    BertModel(config).save_pretrained(tmp_path)
    found = columns(str(tmp_path))
    for name in ("bertscore_f1", "bertscore_precision", "bertscore_recall"):
        same, other, silent = found[name].per_row.tolist()
        assert same == pytest.approx(1.0, abs=1e-5) and other < 0.99 and silent == 0.0
    assert "layer 2, best reference, no idf" in found["bertscore_f1"].variant
    with pytest.raises(UserError, match="bertscore: model /nowhere does not load"):
        columns("/nowhere")


def test_the_library_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bert_score", None)
    with pytest.raises(UserError, match=r'pip install "winnow-vlm\[bertscore\]"'):
        columns("roberta-large")
