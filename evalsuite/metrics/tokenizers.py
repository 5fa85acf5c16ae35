"""Tokenisers of caption metrics by name: COCO's own, and sacrebleu's for other languages.

``ptb`` is for languages that put blanks between words. For the others sacrebleu's tokenisers are
used, after lower-casing: ``zh`` (each Chinese character a token, the rest as 13a), ``ja-mecab`` and
``ko-mecab`` (words; need ``pip install "sacrebleu[ja]"`` or ``[ko]``), ``char`` (every character),
``13a`` and ``intl`` (WMT's). Scores under different tokenisers cannot be compared.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from importlib import import_module

from evalsuite.metrics.base import TokenizerName, check_variant
from evalsuite.metrics.ptb_tokenizer import ptb_tokenize, words
from winnow.errors import UserError

Tokenize = Callable[[str], Sequence[str]]
_SACREBLEU = {
    "13a": "Tokenizer13a", "intl": "TokenizerV14International", "zh": "TokenizerZh", "char": "TokenizerChar",
    "ja-mecab": "TokenizerJaMecab", "ko-mecab": "TokenizerKoMecab",
}  # fmt: skip
TOKENIZERS = ("ptb", *_SACREBLEU)
# Letters of scripts that put no blanks between words: Han, kana; Thai, Lao, Burmese, Khmer.
_KANA = re.compile("[\u3040-\u30ff]")
_HAN = re.compile("[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_SOUTH_EAST_ASIAN = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_SCRIPTS = (("ja-mecab", "Japanese", _KANA), ("zh", "Chinese", _HAN), ("char", "a script like Thai", _SOUTH_EAST_ASIAN))


def caption_tokens(name: TokenizerName) -> Tokenize:
    """Caption → tokens, as ROUGE-L compares them.

    Raises:
        UserError: no such tokeniser, or what it needs is not installed.
    """
    check_variant(name, TOKENIZERS, "tokenizer")
    return ptb_tokenize if name == "ptb" else _from_sacrebleu(name)


def counted_words(name: TokenizerName) -> Tokenize:
    """Caption → words, as BLEU and CIDEr count them: under ``ptb`` a no-break space divides a token.

    Raises:
        UserError: as ``caption_tokens``.
    """
    return words if name == "ptb" else caption_tokens(name)


@lru_cache(maxsize=8)
def _from_sacrebleu(name: str) -> Tokenize:
    module = f"sacrebleu.tokenizers.tokenizer_{name.replace('-', '_')}"
    try:
        tokenizer = getattr(import_module(module), _SACREBLEU[name])()
    except (ImportError, RuntimeError) as error:
        extra = {"ja-mecab": "[ja]", "ko-mecab": "[ko]"}.get(name, "")
        raise UserError(f'tokenizer {name!r} needs: pip install "sacrebleu{extra}"') from error

    def tokenize(caption: str) -> list[str]:
        tokens: list[str] = tokenizer(caption.lower()).split()
        return tokens

    return tokenize


def tokenizer_label(name: TokenizerName) -> str:
    """Its name in a report."""
    return "COCO tokens" if name == "ptb" else f"sacrebleu {name} tokens"


def unfit_tokenizer(texts: Iterable[str], name: TokenizerName) -> str | None:
    """Why a tokeniser does not fit captions in the script of ``texts``, as one sentence; None if it does.

    ``ptb``, ``13a`` and ``intl`` divide at blanks. Of a language without blanks they make one token of a whole
    sentence, so that only equal captions match, and BLEU-2 and higher orders count nothing.
    """
    if name not in ("ptb", "13a", "intl"):
        return None
    unfit = [text for text in texts if not text.isascii() and _mostly_without_blanks(text)]
    for better, language, letters in _SCRIPTS:
        if any(map(letters.search, unfit)):
            return (
                f"references in {language} ({len(unfit):,} of them) have no blanks between words, but the tokenizer "
                f"{name!r} divides at blanks; set `tokenize: {better}`"
            )
    return None


def _mostly_without_blanks(text: str) -> bool:
    """Whether most characters are of such scripts; a caption that quotes a sign in one is no such text."""
    return 2 * sum(len(letters.findall(text)) for _, _, letters in _SCRIPTS) > len(text)
