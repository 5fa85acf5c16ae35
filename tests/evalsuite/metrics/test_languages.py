"""Captions and answers in languages that put no blanks between words."""

import sys

import pytest

from evalsuite.metrics import (
    METRICS,
    Answers,
    MetricOptions,
    bleu,
    cider,
    exact_match,
    rouge_l,
    tokenizers,
    vqa_accuracy,
)
from evalsuite.metrics.base import TokenizerName
from evalsuite.metrics.normalize import evalai, official
from evalsuite.metrics.tokenizers import TOKENIZERS, caption_tokens, tokenizer_label, unfit_tokenizer
from winnow.errors import UserError


def test_chinese_is_one_token_to_ptb_and_characters_to_zh() -> None:
    assert caption_tokens("ptb")("一只红色的狗") == ["一只红色的狗"]
    assert caption_tokens("zh")("一只红色的狗 Dog") == [*"一只红色的狗", "dog"]
    assert caption_tokens("char")("ab 狗") == ["a", "b", "狗"]


def test_scores_follow_the_tokeniser() -> None:
    predictions, references = {"a": "一只红色的狗"}, {"a": ["一只黑色的狗"]}
    with pytest.warns(UserWarning, match="references in Chinese"):
        assert rouge_l(predictions, references).corpus == 0.0
    assert rouge_l(predictions, references, tokenize="zh").corpus == pytest.approx(5 / 6)
    assert bleu(predictions, references, tokenize="char").corpus[0] == pytest.approx(5 / 6)
    # three characters have no 4-gram
    assert cider({**predictions, "b": "两只猫"}, {**references, "b": ["两只猫"]}, tokenize="zh").per_sample[
        "b"
    ] == pytest.approx(7.5)


@pytest.mark.parametrize(
    ("caption", "language", "better"),
    [
        ("一只猫在沙发上", "Chinese", "zh"),
        ("赤い犬が走る", "Japanese", "ja-mecab"),
        ("แมวบนโซฟา", "a script like Thai", "char"),
    ],
)
@pytest.mark.parametrize("metric", ["bleu", "rouge_l", "cider"])
def test_captions_without_blanks_warn_under_a_tokeniser_that_needs_them(
    metric: str, caption: str, language: str, better: str
) -> None:
    rows = Answers(ids=["a"] * 100, texts=[caption] * 100, references=[[caption]] * 100)
    expected = f"references in {language} (100 of them) have no blanks between words"
    warning = METRICS[metric].columns(metric, rows, MetricOptions())[0].warning
    assert warning and warning.startswith(expected) and f"`tokenize: {better}`" in warning
    assert METRICS[metric].columns(metric, rows, MetricOptions(tokenize="char"))[0].warning is None


@pytest.mark.parametrize("caption", ["a sign that reads 出口", "빨간 개가 달린다", "собака бежит", "café"])
def test_other_captions_do_not_warn(caption: str) -> None:
    assert unfit_tokenizer([caption], "ptb") is None


def test_what_is_missing_is_said() -> None:
    with pytest.raises(UserError, match="unknown tokenizer 'jieba'; known: ptb, 13a"):
        caption_tokens("jieba")  # type: ignore[arg-type]
    for name in TOKENIZERS:
        try:
            assert caption_tokens(name)("a dog")
        except UserError as error:
            assert f'tokenizer {name!r} needs: pip install "sacrebleu[' in str(error)
    assert tokenizer_label("zh") == "sacrebleu zh tokens" and tokenizer_label("ptb") == "COCO tokens"


WORDS = {
    "ja-mecab": ("赤い犬が公園を走っています。", "赤い 犬 が 公園 を 走っ て い ます 。"),
    "ko-mecab": ("빨간 개가 공원에서 달린다.", "빨간 개 가 공원 에서 달린다 ."),
}


@pytest.mark.parametrize("name", WORDS)
def test_japanese_and_korean_are_cut_into_words(name: TokenizerName) -> None:
    caption, expected = WORDS[name]
    pytest.importorskip({"ja-mecab": "MeCab", "ko-mecab": "mecab_ko"}[name])
    assert list(caption_tokens(name)(caption)) == expected.split()
    other = WORDS["ko-mecab" if name == "ja-mecab" else "ja-mecab"][0]
    predictions, references = {"a": caption, "b": caption}, {"a": [caption], "b": [other]}
    found = cider(predictions, references, tokenize=name)
    assert found.per_sample["a"] == pytest.approx(10.0) and found.per_sample["b"] < 1
    assert bleu(predictions, references, tokenize=name).per_sample["a"] == pytest.approx([1.0] * 4, abs=1e-6)


@pytest.mark.parametrize(("name", "extra", "needs"), [("ja-mecab", "ja", "MeCab"), ("ko-mecab", "ko", "mecab_ko")])
def test_a_missing_dictionary_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: TokenizerName, extra: str, needs: str
) -> None:
    tokenizers._from_sacrebleu.cache_clear()
    monkeypatch.setitem(sys.modules, needs, None)
    monkeypatch.delitem(sys.modules, f"sacrebleu.tokenizers.tokenizer_{name.replace('-', '_')}", raising=False)
    with pytest.raises(UserError, match=rf'tokenizer \'{name}\' needs: pip install "sacrebleu\[{extra}\]"'):
        bleu({"a": "x"}, {"a": ["x"]}, tokenize=name)


@pytest.mark.parametrize("text", ["红色的狗", "赤い犬", "หมาแดง", "красная собака", "كلب أحمر", "빨간 개", "一只狗。"])
def test_normalisation_leaves_other_scripts_whole(text: str) -> None:
    assert official(text) == evalai(text) == text
    assert exact_match(text, [text]) == 1.0 and vqa_accuracy(text, [text] * 4 + ["x"] * 6) == 1.0
