"""Whether a reply says yes or no: Winnow's own reader, and the rules of benchmarks and tools."""

from __future__ import annotations

import re
from typing import Literal, get_args

from evalsuite.reading.punctuation import vlmevalkit_punctuation
from evalsuite.reading.statement import statements
from winnow.errors import UserError

YesNo = Literal["yes", "no"]
YesNoVariant = Literal["words", "official", "mme", "mme-lmms-eval", "exact", "vlmevalkit"]
YES_NO_VARIANTS: tuple[YesNoVariant, ...] = get_args(YesNoVariant)

_YES = (
    "yes yeah yep yup correct true affirmative oui ja sí sì sim да evet так tak ναι はい 네 예 نعم हाँ "
    "是的 是 对 對 对的 有 有的 正确 可以 能"
)
_NO = (
    "no nope nah incorrect false negative non nein não nao нет hayır nie nee nej όχι いいえ 아니요 아니오 아니 لا नहीं "
    "不 不是 否 不对 没有 沒有 无 错 错误 不可以 不能"
)
_MEANS: dict[str, YesNo] = {**dict.fromkeys(_YES.split(), "yes"), **dict.fromkeys(_NO.split(), "no")}
_ALONE: dict[str, YesNo] = {**_MEANS, "y": "yes", "n": "no", "si": "yes", "1": "yes", "0": "no"}
_EDGES = " \t\r\n.,;:!?*_`\"'“”‘’()[]{}<>#-–—$。，！？：；"
_FIRST = re.compile(r"\W*([^\W\d_]+)(?![\w’']|-\w)(.?)", re.DOTALL)
_BOTH = re.compile(r"\W*(?:yes|no)\W{0,3}\s*(?:and|or|/|&)\s*\W{0,3}(?:yes|no)(?!\w)", re.IGNORECASE)
_WORD = re.compile(r"(?<![\w'’-])(?:yes|no)(?![\w'’])", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?。！？])\s*|\n+")
_CJK = re.compile(r"[一-鿿]")
_CJK_NO = re.compile(r"没有|沒有|不是|不在|不存在|并非|並非|看不到|未见|不能|不会|不可|没|無|无法")
_CJK_YES = re.compile(r"(?<!否)(?:有|存在|包含|可以看到|是(?!否))")
_CJK_OPEN = re.compile(
    r"[无無]法(?:确定|確定|判断|回答|识别|辨认|提供|协助)|(?:不能|难以)(?:确定|判断)|不确定|不清楚|抱歉|对不起"
)
# What is stated about the question itself, or is the whole sentence: "That is correct.", "They are.", "Certainly not."
_JUDGED = re.compile(
    r"\W*(?:it|they|(?:(?:the|this|that|your)\s+)?(?:statement|claim|description|sentence|this|that))(?:\s+(?:is|are)|['’]s)"
    r"\s+(?P<not>not\s+)?(?P<word>true|correct|right|accurate|false|incorrect|wrong|inaccurate)\W*",
    re.IGNORECASE,
)
_BRIEF = re.compile(
    r"\W*(?:(?P<no>(?:(?:certainly|definitely|absolutely|of\s+course|probably|most\s+likely)\s+)?not(?:\s+(?:really|at\s+all|quite))?)"
    r"|absolutely|definitely|certainly|of\s+course|indeed|probably|(?:it|they|he|she|there)\s+(?:is|are|does|do|has))\W*",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"\b(?:clear|sure|certain|determine|tell|know|possible\s+to|enough|whether|if|visible\s+enough|provided)\b",
    re.IGNORECASE,
)
_DENIES = re.compile(
    r"\b(?:is|are|was|were|does|do|did|has|have)(?:\s+not|n['’]t)\b|\b(?:cannot|can\s?not|can['’]t|do\s+not|don['’]t)\s+see\b"
    r"|\bnot\s+(?:visible|present|shown|depicted|included|seen|in\s+the)\b|\b(?:absent|none|nothing|nobody|no\s+one|neither|without\s+any)\b",
    re.IGNORECASE,
)
_AFFIRMS = re.compile(
    r"\W*(?:there\s+(?:is|are|'s|seems\s+to\s+be|appears\s+to\s+be)\b|i\s+(?:can\s+)?see\b|(?:the|this)\s+"
    r"(?:image|photo|picture|scene|photograph)\s+(?:does\s+)?(?:shows?|contains?|includes?|features?|depicts?|has)\b"
    r"|it\s+(?:is|does)\b|(?:an?|the|some)\s+(?:\w+\s+){1,4}(?:is|are)\s+(?:clearly\s+)?(?:present|visible|shown)\b)",
    re.IGNORECASE,
)


def parse_yes_no(text: str, *, variant: YesNoVariant = "words") -> YesNo | None:
    """What a reply says, or None.

    Args:
        variant: ``words`` is Winnow's own reader: an explicit statement ("Answer: yes"), else a first word that
            means yes or no in one of several languages, else whichever of the two occurs as a word, if only one
            does, else what the first sentence asserts ("There isn't a dog") about what is there. ``official`` is
            POPE's evaluation code: ``no`` if the text before the first full stop has the word No, no or not, else
            ``yes``, whatever it says. ``mme`` is MME's: yes or no within the first four characters;
            ``mme-lmms-eval`` is lmms-eval's, which first drops blanks around the text and all full stops, and
            takes y and n. ``exact``: the text itself, in any case. ``vlmevalkit``: yes or no as a word, if only one
            of them occurs, after its punctuation rule.

    Raises:
        UserError: the variant is unknown.
    """
    if variant not in YES_NO_VARIANTS:
        raise UserError(f"unknown variant {variant!r}; known: {', '.join(YES_NO_VARIANTS)}")
    if variant == "official":
        first = text.split(".", 1)[0].replace(",", "").split(" ")
        return "no" if {"No", "not", "no"} & set(first) else "yes"
    if variant == "exact":
        return _as_yes_no(text.strip().lower())
    if variant == "mme":
        return _at_the_start(text.lower())
    if variant == "mme-lmms-eval":
        text = text.lower().strip().replace(".", "")
        return "yes" if text == "y" else "no" if text == "n" else _at_the_start(text)
    if variant == "vlmevalkit":
        return _the_only({"yes", "no"} & set(vlmevalkit_punctuation(text.lower()).split()))
    return read_yes_no(text)


def read_yes_no(text: str) -> YesNo | None:
    """Winnow's own reader, of a reply without thinking and special tokens."""
    plain = text.strip(_EDGES).lower()
    if plain in _ALONE:
        return _ALONE[plain]
    for statement in reversed(statements(text)):
        if found := _ALONE.get(statement.content.strip(_EDGES).lower()) or _first_word(statement.content):
            return found
    if found := _first_word(text):
        return found
    if _BOTH.match(text):
        return None
    words = {word.lower() for word in _WORD.findall(text)}
    if len(words) > 1:
        words = {word.lower() for word in _WORD.findall(_SENTENCE.split(text.strip())[-1])}
    return _the_only(words) if words else _asserted(_SENTENCE.split(text.strip(), maxsplit=1)[0])


def _first_word(text: str) -> YesNo | None:
    first = _FIRST.match(text)
    if first is None or _BOTH.match(text):
        return None
    found = _MEANS.get(first[1].lower())
    if found in ("yes", "no") and first[1].isascii() and first[1].lower() not in ("yes", "no"):
        # "True blue", "Ja Morant", "Correct the text": other words than these two need a pause behind them.
        return found if not first[2] or first[2] in ",.;:!\n—，。" else None
    return found


def _asserted(sentence: str) -> YesNo | None:
    """What a sentence without yes and no says about what is there."""
    if brief := _BRIEF.fullmatch(sentence):
        return "no" if brief["no"] else "yes"
    if judged := _JUDGED.fullmatch(sentence):
        wrong = judged["word"].lower() in ("false", "incorrect", "wrong", "inaccurate")
        return "no" if wrong != bool(judged["not"]) else "yes"
    if _CJK.search(sentence):
        if _CJK_OPEN.search(sentence):
            return None
        return "no" if _CJK_NO.search(sentence) else "yes" if _CJK_YES.search(sentence) else None
    if _UNSURE.search(sentence):
        return None
    if _DENIES.search(sentence):
        return "no"
    return "yes" if _AFFIRMS.match(sentence) else None


def _at_the_start(text: str) -> YesNo | None:
    return "yes" if "yes" in text[:4] else "no" if "no" in text[:4] else None


def _the_only(words: set[str]) -> YesNo | None:
    return _as_yes_no(words.pop()) if len(words) == 1 else None


def _as_yes_no(text: str) -> YesNo | None:
    return "yes" if text == "yes" else "no" if text == "no" else None
