"""Injected instructions, found by what they are made of in many languages.

The words are in ``languages.yaml``. RE2 searches in linear time, whatever the text. Text read off an image, and text in
which words are misspelt, is looked at again after words one or two letters away from a rule's own word were put right.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import re2
from rapidfuzz.distance import OSA

from serving.guard.normalise import folded, mirrored, plain, unfolded
from winnow.strict_yaml import read_mapping

KINDS = ("override", "reveal", "free", "secretly", "forged_turn")
_ORDERS = ("{ignore}~ {which}~ {instructions}", "{ignore}~ {instructions}~ {which}", "{which}~ {instructions}~ {ignore}",
           "{instructions}~ {which}~ {ignore}")  # fmt: skip
_REVEALS = ("{reveal}~ {prompt}", "{prompt}~ {reveal}")
_MEMORY = 256 << 20  # bytes for RE2's automata


@dataclass(frozen=True)
class Found:
    """An injected instruction.

    Attributes:
        kind: one of ``KINDS``.
        rule: kind, language and view, e.g. ``override/de`` or ``override/en (folded)``.
        text: what matched: words, separated by single spaces.
    """

    kind: str
    rule: str
    text: str


@dataclass(frozen=True)
class _Rule:
    kind: str
    language: str
    pattern: str


class Rules:
    """Compiled rules: one search tells which of them match, and only these are searched for their places."""

    def __init__(self, rules: Sequence[_Rule]) -> None:
        options = re2.Options()
        options.max_mem, options.log_errors = _MEMORY, False
        self._rules = rules
        self._set = re2.Set.SearchSet(options)
        self._alone = []
        for rule in rules:
            self._set.Add(rule.pattern)
            self._alone.append(re2.compile(rule.pattern, options))
        self._set.Compile()

    def search(self, text: str) -> Iterator[tuple[_Rule, str]]:
        """Every rule that matches, with each text that it matches."""
        for number in self._set.Match(text) or ():
            for hit in self._alone[number].finditer(text):
                yield self._rules[number], hit[0]


_BETWEEN = re.compile(r"[\W_]+")
_END_OF_SENTENCE = re.compile(r"[.;!?。！？।]")


def spaced(view: str) -> str:
    """Words with single spaces, and `` . `` where a sentence ends."""
    return _BETWEEN.sub(lambda gap: " . " if _END_OF_SENTENCE.search(gap[0]) else " ", f" {view} ")


def squeezed(spaced_view: str) -> str:
    """The same without any space."""
    return spaced_view.replace(" ", "")


def find(text: str, *, read_off_image: bool = False, kinds: frozenset[str] = frozenset(KINDS)) -> Found | None:
    """The first injected instruction of a text, or None.

    Args:
        text: of any length; only the first ``LONGEST_VIEW`` characters are looked at.
        read_off_image: by OCR: letters may be wrong and spaces missing, and nothing is excused as a quotation.
        kinds: that are looked for.
    """
    seen = plain(text)
    excused: set[str] = set()
    for name, view in _views(text, seen, read_off_image=read_off_image):
        for hit in _hits(name, view):
            if hit.kind not in kinds:
                continue
            if name == "plain" and not read_off_image and (_is_mention(seen, hit) or _is_question(view, hit)):
                excused.add(squeezed(hit.text))
            elif squeezed(hit.text) not in excused:
                return hit
    return None


def _hits(name: str, view: str) -> Iterator[Found]:
    words = spaced(view)
    letters = squeezed(words)
    searches = [(_rules(False), words), (_rules(True), letters), (_forged_turns(), view)]
    if name in ("joined", "ocr"):
        searches.append((_unspaced_rules(), letters))
    for search, of in searches:
        for rule, hit in search.search(of):
            shown = f"{rule.kind}/{rule.language}" + (f" ({name})" if name != "plain" else "")
            yield Found(rule.kind, shown, hit.strip(" ."))


def _views(text: str, seen: str, *, read_off_image: bool) -> Iterator[tuple[str, str]]:
    """Names and views, none twice but the one that is searched without spaces."""
    yield "plain", seen
    known = {seen}
    imitated = folded(seen)
    for name, view in (("joined", _only_spaced(seen)), ("folded", imitated), ("typos", respelt(imitated))):
        if view and view not in known:
            known.add(view)
            yield name, view
    if read_off_image:
        yield "ocr", respelt(imitated)
    for piece in unfolded(text):
        yield "unfolded", plain(piece)
        yield "unfolded", folded(plain(piece))
    for view in mirrored(seen):
        yield "mirrored", view


_RUN = re.compile(r"(?<!\w)\w(?:[^\w\n]{1,3}\w){5,}(?!\w)")


def _only_spaced(seen: str) -> str:
    """The letters of words that are written with something between all letters."""
    return " ".join(re.sub(r"[^\w]|_", "", run) for run in _RUN.findall(folded_letters(seen)))


def folded_letters(seen: str) -> str:
    """The folded text before spaced words are joined: letter by letter, so that a run keeps its gaps."""
    return "".join(folded(sign) if sign.isalnum() else sign for sign in seen) if not seen.isascii() else seen


def _vocabulary() -> dict[int, list[str]]:
    """Length → words of Latin letters of the rules, of five letters and more."""
    found: set[str] = set()
    for words in _languages().values():
        for value in words.values():
            if isinstance(value, str):
                found |= {word for word in re.findall(r"[a-z]{5,}(?!\*)\b", plain(value))}
    by_length: dict[int, list[str]] = {}
    for word in sorted(found | {"previous", "instructions", "ignore", "system", "prompt", "reveal"}):
        by_length.setdefault(len(word), []).append(word)
    return by_length


_words = functools.cache(_vocabulary)


@functools.lru_cache(maxsize=50_000)
def _respelt(word: str) -> str:
    if len(word) < 5 or not word.isascii():
        return word
    most = 1 if len(word) < 8 else 2
    near: tuple[int, str] | None = None
    for length in range(len(word) - most, len(word) + most + 1):
        for known in _words().get(length, ()):
            distance = OSA.distance(word, known, score_cutoff=most)
            if distance <= most and (near is None or distance < near[0]):
                near = (distance, known)
    if near is None and len(word) > 5:  # letters inside changed places
        inside = sorted(word[1:-1])
        near = next(((0, known) for known in _words().get(len(word), ())
                     if known[0] == word[0] and known[-1] == word[-1] and sorted(known[1:-1]) == inside), None)  # fmt: skip
    return near[1] if near else word


_WORD = re.compile(r"[^\W\d_]+")
_MOST_WORDS = 4000


def respelt(view: str) -> str:
    """A folded text whose misspelt words are those of the rules they are nearest to."""
    if view.count(" ") > _MOST_WORDS:
        view = " ".join(view.split(" ", _MOST_WORDS)[:_MOST_WORDS])
    return _WORD.sub(lambda found: _respelt(found[0]), view)


# ---- mention, not use ---------------------------------------------------------------------------
_QUOTES = "\"'“”„‟«»‹›‘’‚`「」『』《》"
_ABOUT = re.compile(
    r"\b(phrase|term|words?|sentence|expression|meaning|means?|translat|say in|example|called|known as|attack|injection|"
    r"jailbreak|article|paper|lecture|course|explain|why|detect|classif|filter|regex|headline|title|quote|spell|"
    r"grammar|bedeutet|satz|ausdruck|wort|ubersetz|beispiel|angriff|signifie|phrase|traduis|exemple|attaque|expression|"
    r"significa|frase|traduc|ejemplo|ataque|traduz|exemplo|esempio|attacco|frase|betekent|zin|vertaal|voorbeeld|"
    r"betyder|mening|oversatt|oznacza|zdanie|przetlumacz|atak|przyklad|znamena|veta|utok|"
    r"означает|фраза|перевед|пример|атак|значить|приклад|anlam|cumle|cevir|ornek|saldırı|saldiri|arti|kalimat|terjemah|"
    r"contoh|serangan|nghia|cau|dich|vi du|tan cong)"
    r"|意思|翻译|翻譯|这句|這句|例子|攻击|攻擊|意味|訳|例文|攻撃|뜻|번역|문장|예시|공격|معنى|ترجم|عبارة|مثال|هجوم|अरथ|अनवद|वकय|उदहरण"
)  # fmt: skip
_LONGEST_QUOTATION = 160


def _is_mention(seen: str, hit: Found) -> bool:
    """Whether what matched stands only inside quotation marks, in a text that speaks about it."""
    words = re.compile(r"[\W_]+".join(map(re.escape, hit.text.replace(".", " ").split())))
    places = [found.span() for found in words.finditer(seen)]
    outside = words.sub(" ", seen)
    return bool(places and len(seen) < 2000 and _ABOUT.search(outside) and all(_is_quoted(seen, *at) for at in places))


_HOW = re.compile(
    r" (how (do|can|could|should|would|did) (i|we|you|one|they)|how to|can i|could i|may i|should i|is it possible to|ways to"
    r"|wie (kann|konnte|soll)?( ?\w+)? ?(ich|man|wir)|comment|como( puedo| se| posso)?|come (posso|si)|hoe (kan|kun|moet) (ik|je)|hur (kan|gor) (jag|man)"
    r"|jak|как( мне)?|як|nasıl|nasil|bagaimana( cara)?|lam (sao|the nao)|كيف)( [^ .]+){0,2} ?$"
)
_HOW_SPACELESS = re.compile(r"(怎么|怎麼|如何|怎样|とうやって|方法|어떻게)")


def _is_question(seen: str, hit: Found) -> bool:
    """Whether somebody asks how to do what matched, on a device, say; asking for it is no order to the model."""
    if hit.kind not in ("free", "secretly"):
        return False
    words = spaced(seen)
    places = [found.start() for found in re.finditer(re.escape(hit.text), words)]
    return bool(places) and all(_asks_how(words[max(at - 80, 0) : at]) for at in places)


def _asks_how(before: str) -> bool:
    return bool(_HOW.search(before.rstrip()) or _HOW_SPACELESS.search(squeezed(before)))


def _is_quoted(seen: str, start: int, end: int) -> bool:
    before, after = seen[max(start - _LONGEST_QUOTATION, 0) : start], seen[end : end + _LONGEST_QUOTATION]
    before = before[before.rfind("\n") + 1 :]
    opened = sum(before.count(sign) for sign in _QUOTES)
    closed = sum(after.partition("\n")[0].count(sign) for sign in _QUOTES)
    return opened % 2 == 1 and closed % 2 == 1


# ---- turns that are forged ----------------------------------------------------------------------
_FORGED = (
    r"(^|[\n.!?:])\s{0,3}(new|updated|revised|real|actual) (system )?(instructions?|directives?|tasks?|prompt|orders?)\s?[:：]\s{0,3}(you|ignore|from now|answer|reply|respond|say|output|always|never|act|write|do not|don.t|translate|only)\b",
    r"\b(attention|note|notice|message|instructions?|important|to)[, ]{1,2}((to|for|all|any|the|every) ){0,3}(ai|llm|language model|vision model|vlm|chatbot|gpt|ai (assistant|model|system|reader|agent))s?( (reading|viewing|processing|analy[sz]ing) (this|it|the \pL+))?\s?[:：]",
    r"<\|(im_start|start_header_id|start|header_start)\|>\s{0,3}(system|developer|assistant|tool|user)",
    r"<\|(system|assistant|developer|user|human|end_of_turn|endofprompt)\|>",
    r"\[/?inst\]|<</?sys>>|\[/?system(_prompt|_message)?\]|</?system(_prompt|_message)?>\s{0,3}\pL",
    r"<(start|end)_of_turn>|<\|eot_id\|>|<\|im_end\|>\s*<|<\|start_header_id\|>|<\|(end|return|call|channel)\|>\s*<",
    r"(^|\n)\s{0,3}(#{2,4}|\*\*|---+|===+)\s{0,3}(new |begin |end )?(system|developer)( (prompt|message|instructions?|override|note))?\s{0,3}(:|\*\*|---+|===+|\n)",
    r"(^|\n)\s{0,3}(system|developer|система|系统|系統|システム|시스템|sistema|systeme|sistem|النظام)\s?(message|prompt|override|note|notice|command)?\s?[:：]\s{0,2}(you (are|must|will|shall|should|have|can|may)|from now|new |ignore|du (bist|musst)|tu (es|dois|eres|debes)|vous|ты|теперь|你|あなた|너|당신)",
    r"(system|admin|developer|root|security) (override|command|directive|alert)\s?(:|code|accepted|granted|enabled|initiated|activated)",
    r"(begin|start|end) (of )?(system|new|developer|admin) (prompt|instructions?|message|override|session|context)",
    r"</(user|user_input|context|data|document|question|input|query|untrusted)[a-z_]{0,12}>\s{0,4}(<|\n?\s?(system|new|now|ignore|you))",
    r"!\[[^\]\n]{0,80}\]\(https?://[^)\n]{1,200}[?&=/][^)\n]{0,100}(\{|\[|<|\$|history|conversation|secret|password|data\+)",
)  # fmt: skip


# ---- compiling ----------------------------------------------------------------------------------
@functools.cache
def _languages() -> dict[str, dict[str, str]]:
    return read_mapping(Path(__file__).parent / "languages.yaml")


def _alternatives(words: str) -> str:
    """The pattern of words of ``languages.yaml`` that are separated by `` | ``."""
    return "(?:" + "|".join(each.strip() for each in words.split(" | ")) + ")"


def _rule(kind: str, language: str, shape: str, words: dict[str, str], *, letters_only: bool) -> _Rule:
    """A rule in RE2's notation: stars, gaps and spaces spelt out.

    Args:
        letters_only: for text without spaces.
    """
    pattern = _with_rests(shape.format(**words), "[^.]{0,5}" if letters_only else "[^ .]*")
    if kind == "reveal" and "gap" in words and not letters_only:
        pattern = pattern.replace("~ ", f"(?: {words['gap']}){{0,6}} ")
    if letters_only:
        pattern = re.sub(r"~ ?", r"[^.]{0,12}?", pattern)
        return _Rule(kind, language, re.sub(r" [?*]?", "", pattern))
    pattern = re.sub(r"~ ?", r"(?: [^ .]+){0,3} ", pattern)
    return _Rule(kind, language, rf" {pattern} ")


def _with_rests(pattern: str, rest: str) -> str:
    """The pattern with the rest of a word for each ``*``, but for groups of whole words, which begin or end with a space."""
    opened: list[int] = []
    made: list[str] = []
    for at, sign in enumerate(pattern):
        if sign == "(":
            opened.append(at)
        if sign == ")":
            begin = opened.pop()
            group = pattern[begin:at]
        if sign != "*":
            made.append(sign)
        elif pattern[at - 1] == ")":
            made.append("{0,4}" if group.startswith("( ") or group.endswith(" ") else rest)
        else:
            made.append(rest if pattern[at - 1].isalpha() else "*")
    return "".join(made)


def _rules_of(languages: Sequence[str], *, letters_only: bool) -> Rules:
    found = []
    for language in languages:
        words = {
            name: _alternatives(plain(value)) for name, value in _languages()[language].items() if name != "spaceless"
        }
        shapes = [("override", order) for order in _ORDERS] + [("reveal", order) for order in _REVEALS]
        shapes += [("override", "{whole}"), ("free", "{free}"), ("secretly", "{secretly}")]
        found += [_rule(kind, language, shape, words, letters_only=letters_only) for kind, shape in shapes]
    return Rules(found)


@functools.cache
def _rules(spaceless: bool) -> Rules:
    """The rules of languages with or without spaces between words."""
    wanted = [name for name, words in _languages().items() if ("spaceless" in words) == spaceless]
    return _rules_of(wanted, letters_only=spaceless)


@functools.cache
def _unspaced_rules() -> Rules:
    """The rules of languages with spaces, over text whose spaces may be lost."""
    wanted = [name for name, words in _languages().items() if "spaceless" not in words]
    return _rules_of(wanted, letters_only=True)


@functools.cache
def _forged_turns() -> Rules:
    return Rules([_Rule("forged_turn", "any", pattern) for pattern in _FORGED])


def load() -> None:
    """Compile every rule now, and not with the first request."""
    find("warm", read_off_image=True)
