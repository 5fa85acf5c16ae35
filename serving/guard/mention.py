"""Whether a text speaks about an injected instruction, or asks how something is done, and gives none."""

from __future__ import annotations

import re
from collections.abc import Iterable

from serving.guard.views import spaced, squeezed

_QUOTES = "\"'“”„‟«»‹›‘’‚`「」『』《》"
_ABOUT = re.compile(
    r"\b(phrase|term|words?|sentence|expression|meaning|means?|translat|say in|example|called|known as|attack|injection"
    r"|jailbreak|article|paper|lecture|course|explain|why|detect|classif|filter|regex|headline|title|quote|spell|grammar"
    r"|bedeutet|satz|ausdruck|wort|ubersetz|beispiel|angriff|signifie|traduis|exemple|attaque"
    r"|significa|frase|traduc|ejemplo|ataque|traduz|exemplo|esempio|attacco|betekent|zin|vertaal|voorbeeld"
    r"|betyder|mening|oversatt|oznacza|zdanie|przetlumacz|atak|przyklad|znamena|veta|utok"
    r"|означает|фраза|перевед|пример|атак|значить|приклад|anlam|cumle|cevir|ornek|saldırı|saldiri|arti|kalimat|terjemah"
    r"|contoh|serangan|nghia|cau|dich|vi du|tan cong)"
    r"|意思|翻译|翻譯|这句|這句|例子|攻击|攻擊|意味|訳|例文|攻撃|뜻|번역|문장|예시|공격|معنى|ترجم|عبارة|مثال|هجوم|अरथ|अनवद|वकय|उदहरण"
)
_LONGEST_QUOTATION = 160


def is_mention(seen: str, text: str) -> bool:
    """Whether what matched stands only inside quotation marks, in a text that speaks about it."""
    words = _pattern(text)
    places = [found.span() for found in words.finditer(seen)]
    outside = words.sub(" ", seen)
    return bool(places and len(seen) < 2000 and _ABOUT.search(outside) and all(_is_quoted(seen, *at) for at in places))


def _pattern(text: str) -> re.Pattern[str]:
    """Finds the words of what matched, whatever is between them."""
    return re.compile(r"[\W_]+".join(map(re.escape, text.replace(".", " ").split())))


def without(seen: str, texts: Iterable[str]) -> str:
    """A plain text without what matched in it."""
    for text in texts:
        seen = _pattern(text).sub(" ", seen)
    return seen


_QUOTATION = re.compile(
    rf"[\"“”„‟«»‹›「」『』《》][^\"“”„‟«»‹›「」『』《》\n]{{8,{_LONGEST_QUOTATION}}}[\"“”„‟«»‹›「」『』《》]"
    rf"|(?<!\w)['‘’‚`][^'‘’‚`\n]{{8,{_LONGEST_QUOTATION}}}['‘’‚`](?!\w)"
)


def unquoted(seen: str) -> str:
    """A plain text without its quotations, if it speaks about them; as it is otherwise."""
    if len(seen) >= 2000:
        return seen
    outside = _QUOTATION.sub(" ", seen)
    return outside if _ABOUT.search(outside) else seen


_HOW = re.compile(
    r" (how (do|can|could|should|would|did) (i|we|you|one|they)|how to|can i|could i|may i|should i|is it possible to"
    r"|ways to|wie (kann|konnte|soll)?( ?\w+)? ?(ich|man|wir)|comment|como( puedo| se| posso)?|come (posso|si)"
    r"|hoe (kan|kun|moet) (ik|je)|hur (kan|gor) (jag|man)|jak|как( мне)?|як|nasıl|nasil|bagaimana( cara)?"
    r"|lam (sao|the nao)|كيف)( [^ .]+){0,2} ?$"
)
_HOW_SPACELESS = re.compile(r"(怎么|怎麼|如何|怎样|とうやって|方法|어떻게)")


def is_question(seen: str, text: str) -> bool:
    """Whether somebody asks how to do what matched, on a device, say; asking for it is no order to the model."""
    words = spaced(seen)
    places = [found.start() for found in re.finditer(re.escape(text), words)]
    return bool(places) and all(_asks_how(words[max(at - 80, 0) : at]) for at in places)


def _asks_how(before: str) -> bool:
    return bool(_HOW.search(before.rstrip()) or _HOW_SPACELESS.search(squeezed(before)))


_ON_PICTURE = re.compile(
    r"^ ?(shown |displayed |written |printed )?(on|in|of|at) (this|the|that|my) ([^ .]+ ){0,2}"
    r"(screen|screenshot|picture|photo|photograph|image|display|sign|poster|label|terminal|window|monitor|page)s? "
)


def is_on_picture(seen: str, text: str) -> bool:
    """Whether somebody asks what is to be read on a picture, and not what the model was told."""
    words = spaced(seen)
    places = [found.end() for found in re.finditer(re.escape(text), words)]
    is_asked = text.startswith("what ") and "your" not in text.split()
    return is_asked and bool(places) and all(_ON_PICTURE.match(f"{words[end : end + 80]} ") for end in places)


def _is_quoted(seen: str, start: int, end: int) -> bool:
    before, after = seen[max(start - _LONGEST_QUOTATION, 0) : start], seen[end : end + _LONGEST_QUOTATION]
    before = before[before.rfind("\n") + 1 :]
    opened = sum(before.count(sign) for sign in _QUOTES)
    closed = sum(after.partition("\n")[0].count(sign) for sign in _QUOTES)
    return opened % 2 == 1 and closed % 2 == 1
