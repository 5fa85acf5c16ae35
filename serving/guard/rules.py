"""The rules against injected instructions, made of the words of ``languages.yaml`` and compiled.

RE2 searches in linear time, whatever the text.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import re2

from serving.guard.normalise import plain
from winnow.strict_yaml import read_mapping

KINDS = ("override", "reveal", "free", "secretly", "forged_turn")
_ORDERS = (
    "{ignore}~ {which}~ {instructions}",
    "{ignore}~ {instructions}~ {which}",
    "{which}~ {instructions}~ {ignore}",
    "{instructions}~ {which}~ {ignore}",
)
_REVEALS = ("{reveal}~ {prompt}", "{prompt}~ {reveal}")
# For the words that a language has.
_MORE = (
    ("override", "{ignore}~ {told}"),
    ("override", "{told}~ {ignore}"),
    ("override", "{told}~ {void}"),
    ("override", "{which}~ {instructions}~ {void}"),
    ("override", "{instructions}~ {which}~ {void}"),
    ("override", "{ignore}~ {limits}"),
    ("override", "{obey}"),
    ("free", "{unbound}"),
    ("reveal", "{asked}"),
)
_SLOT = re.compile(r"\{(\w+)\}")
_MEMORY = 256 << 20  # bytes for RE2's automata


@dataclass(frozen=True)
class Rule:
    kind: str
    language: str
    pattern: str


class Rules:
    """Compiled rules: one search tells which of them match, and only these are searched for their places."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        options = re2.Options()
        options.max_mem, options.log_errors = _MEMORY, False
        self._rules = rules
        self._set = re2.Set.SearchSet(options)
        self._alone = []
        for rule in rules:
            self._set.Add(rule.pattern)
            self._alone.append(re2.compile(rule.pattern, options))
        self._set.Compile()

    def search(self, text: str) -> Iterator[tuple[Rule, str]]:
        """Every rule that matches, with each text that it matches."""
        for number in self._set.Match(text) or ():
            for hit in self._alone[number].finditer(text):
                yield self._rules[number], hit[0]


_ROLE = r"(system|developer|система|系统|系統|システム|시스템|sistema|systeme|sistem|النظام)"
_ORDER = (
    r"(you (are|must|will|shall|should|have|can|may)|from now|new |ignore|du (bist|musst)|tu (es|dois|eres|debes)|vous"
    r"|ты|теперь|你|あなた|너|당신)"
)
_TELLS = r"(you|ignore|from now|answer|reply|respond|say|output|always|never|act|write|do not|don.t|translate|only)"
_MODEL = r"(a[il1]|llm|language model|vision model|vlm|chatbot|gpt|a[il1] (assistant|model|system|reader|agent))s?"
_ROLE_OF_MODEL = (
    r"( (reviewer|reader|agent|system|scanner|crawler|summari[sz]er|grader|screener|recruiter|evaluator|judge|moderator"
    r"|parser|annotator|captioner|classifier)s?)?"
)
_READING = r"( (reading|viewing|processing|analy[sz]ing) (this|it|the \pL+))?"
# Over plain text with its signs.
_FORGED = (
    r"(^|[\n.!?:])\s{0,3}(new|updated|revised|real|actual) (system )?(instructions?|directives?|tasks?|prompt|orders?)"
    rf"\s?[:：]\s{{0,3}}{_TELLS}\b",
    r"\b(attention|note|notice|message|instructions?|important|to)[, ]{1,2}((to|for|all|any|the|every) ){0,3}"
    rf"{_MODEL}{_ROLE_OF_MODEL}{_READING}\s?[:：]",
    r"\b(system|admin|administrator|developer|security) (notice|message|note|alert|update|announcement|memo)"
    rf" (to|for|addressed to) ((all|any|the|every) ){{0,3}}({_MODEL}|assistants?){_ROLE_OF_MODEL}\s?[:：]",
    r"<\|(im_start|start_header_id|start|header_start)\|>\s{0,3}(system|developer|assistant|tool|user)",
    r"<\|(endoftext|eos|end_of_text|begin_of_text)\|>\s*(system|user|assistant|human)\s?:",
    r"[-=#*]{2,}\s?(end|begin|start) of (the )?"
    r"(document|input|text|data|context|page|e-?mail|file|article|message|prompt)",
    r"<\|(system|assistant|developer|user|human|end_of_turn|endofprompt)\|>",
    r"\[/?inst\]|<</?sys>>|\[/?system(_prompt|_message)?\]|</?system(_prompt|_message)?>\s{0,3}\pL",
    r"<(start|end)_of_turn>|<\|eot_id\|>|<\|im_end\|>\s*<|<\|(end|return|call|channel)\|>\s*<",
    r"(^|\n)\s{0,3}(#{2,4}|\*\*|---+|===+)\s{0,3}(new |begin |end )?(system|developer)"
    r"( (prompt|message|instructions?|override|note))?\s{0,3}(:|\*\*|---+|===+|\n)",
    rf"(^|\n)\s{{0,3}}{_ROLE}\s?(message|prompt|override|note|notice|command)?\s?[:：]\s{{0,2}}{_ORDER}",
    r"(system|admin|developer|root|security) (override|command|directive|alert)\s?"
    r"(:|code|accepted|granted|enabled|initiated|activated)",
    r"(^|\n)\s{0,3}#{2,4}\s?(instruction|human|assistant)\s?:",
    r"(end|begin|start) of (user )?(input|query|prompt|message|question)s?\s?(-{2,}|={2,}|\]|\*\*|#)",
    r"(begin|start|end) (of )?(system|new|developer|admin) (prompt|instructions?|message|override|session|context)",
    r"</(user|user_input|context|data|document|question|input|query|untrusted)[a-z_]{0,12}>\s{0,4}"
    r"(<|\n?\s?(system|new|now|ignore|you))",
    r"!\[[^\]\n]{0,80}\]\(https?://[^)\n]{1,200}[?&=/][^)\n]{0,100}"
    r"(\{|<|\$|history|conversation|secret|password|data\+)",
)


@functools.cache
def words_by_language() -> dict[str, dict[str, str]]:
    """Language → name → words, as ``languages.yaml`` has them."""
    return read_mapping(Path(__file__).parent / "languages.yaml")


def _alternatives(words: str) -> str:
    """The pattern of words of ``languages.yaml`` that are separated by `` | ``."""
    return "(?:" + "|".join(each.strip() for each in words.split(" | ")) + ")"


def _rule(kind: str, language: str, shape: str, words: dict[str, str], *, letters_only: bool) -> Rule:
    """A rule in RE2's notation: stars, gaps and spaces spelt out.

    Args:
        letters_only: for text without spaces.
    """
    pattern = _with_rests(shape.format(**words), "[^.]{0,5}" if letters_only else "[^ .]*")
    if kind == "reveal" and language != "en" and not letters_only:
        pattern = pattern.replace(words["prompt"], f"(?:{words['prompt']}|system ?prompts?)")
    if kind == "reveal" and "gap" in words and not letters_only:
        pattern = pattern.replace("~ ", f"(?: {words['gap']}){{0,6}} ")
    if letters_only:
        pattern = re.sub(r"~ ?", r"[^.]{0,12}?", pattern)
        return Rule(kind, language, re.sub(r" [?*]?", "", pattern))
    pattern = re.sub(r"~ ?", rf"(?: [^ .]+){{0,{5 if kind == 'reveal' else 3}}} ", pattern)
    return Rule(kind, language, rf" {pattern} ")


def words_pattern(words: str, *, letters_only: bool) -> str:
    """The pattern of one entry of ``languages.yaml``, for text with or without spaces."""
    return _rule("", "", "{words}", {"words": _alternatives(plain(words))}, letters_only=letters_only).pattern


def _with_rests(pattern: str, rest: str) -> str:
    """The pattern with the rest of a word for each ``*``; groups of words, which begin or end with a space, repeat."""
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
            name: _alternatives(plain(value))
            for name, value in words_by_language()[language].items()
            if name not in ("spaceless", "in_image")
        }
        shapes = [("override", order) for order in _ORDERS] + [("reveal", order) for order in _REVEALS]
        if language != "en":  # whose `prompt` has what users may well want to leave out, such as "the text above"
            shapes += [("override", "{ignore}~ {prompt}"), ("override", "{prompt}~ {ignore}")]
        shapes += [(kind, shape) for kind, shape in _MORE if set(_SLOT.findall(shape)) <= words.keys()]
        shapes += [("override", "{whole}"), ("free", "{free}"), ("secretly", "{secretly}")]
        found += [_rule(kind, language, shape, words, letters_only=letters_only) for kind, shape in shapes]
    return Rules(found)


@functools.cache
def image_rules() -> Rules:
    """Rules for the text of images alone: what a user may well ask for, but no picture."""
    words = {name: each for name, each in words_by_language().items() if "in_image" in each}
    return Rules(
        [
            _rule(
                "override", name, "{in_image}", {"in_image": _alternatives(plain(each["in_image"]))}, letters_only=False
            )
            for name, each in words.items()
        ]
    )


@functools.cache
def rules(*, spaceless: bool) -> Rules:
    """The rules of languages with or without spaces between words."""
    wanted = [name for name, words in words_by_language().items() if ("spaceless" in words) == spaceless]
    return _rules_of(wanted, letters_only=spaceless)


@functools.cache
def unspaced_rules() -> Rules:
    """The rules of languages with spaces, over text whose spaces may be lost."""
    wanted = [name for name, words in words_by_language().items() if "spaceless" not in words]
    return _rules_of(wanted, letters_only=True)


@functools.cache
def forged_turns() -> Rules:
    return Rules([Rule("forged_turn", "any", pattern) for pattern in _FORGED])
