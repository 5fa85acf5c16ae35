"""What a model answers, checked over a sliding window, so that nothing forbidden is sent before it is seen.

The last ``window`` characters of a stream are held back. A match that is not longer than that is seen whole, with the
character after it, before any of it is sent; a longer one may be seen in part. Rules look at what a reader sees
(``_shown``): without invisible characters, with the letters that signs of compatibility stand for.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import ahocorasick_rs
import re2

from curate.signals.pii import places_of
from serving.guard.corrections import digest
from serving.guard.normalise import unseen
from serving.guard.policy import OutputText
from winnow.errors import UserError
from winnow.files import read_regular

_CONTEXT = 64  # characters before the window: whether a word begins, and the like
_MOST_WORDS = 2_000_000
# Letters of scripts that write without spaces: words of them have no edges.
_SPACELESS = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u1100-\u11ff]"
)


@dataclass(frozen=True)
class Hit:
    """Something that must not be sent as it is.

    Attributes:
        rule: ``word``, ``pattern/NAME``, ``pii/KIND``, ``canary`` or ``leak``.
        start, end: characters of the text that was searched.
        mask: what is sent in its place; None ends the answer.
    """

    rule: str
    start: int
    end: int
    mask: str | None = None


class OutputRules:
    """The compiled rules of a policy for what is answered; shared by all answers.

    Args:
        system_prompt: a text that answers may not repeat.
        canary: a word that no answer has unless the system prompt was repeated.
    """

    def __init__(self, policy: OutputText, system_prompt: str = "", canary: str = "") -> None:
        self.policy, self.canary = policy, canary
        shown = (_shown(word.strip(), is_json=False)[0] for word in _listed(policy))
        self._words = [word for word in (_folded(each)[0] for each in shown) if word]
        if self._words and (longest := max(self._words, key=len)) and len(longest) > policy.window:
            raise UserError(f"text_out.window: {policy.window} is less than the word {longest[:40]!r}… has characters")
        self._finder = ahocorasick_rs.AhoCorasick(self._words) if self._words else None
        self._patterns = [(name, re2.compile(pattern)) for name, pattern in policy.patterns.items()]
        secret = [word for word, _, _ in _words_of(_shown(system_prompt, is_json=False)[0])]
        many = policy.leak_words
        self._secret = {tuple(secret[at : at + many]) for at in range(len(secret) - many + 1)}

    def hits(self, text: str, *, is_json: bool = False) -> list[Hit]:
        """Everything in a text, by where it begins; what ends the answer before what is masked.

        Args:
            is_json: whether escapes of JSON stand for characters.
        """
        shown, places = _shown(text, is_json=is_json)
        found = [*self._forbidden_words(shown), *self._leaks(shown), *self._patterned(shown)]
        if places is not None:
            found = [replace(hit, start=places[hit.start][0], end=places[hit.end - 1][1]) for hit in found]
            found += self._patterned(text)  # as written
        return sorted(found, key=lambda hit: (hit.start, hit.mask is not None, -hit.end))

    def _patterned(self, text: str) -> Iterator[Hit]:
        for name, pattern in self._patterns:
            yield from (Hit(f"pattern/{name}", *match.span()) for match in pattern.finditer(text) if match[0])
        if self.policy.pii:
            masks = self.policy.pii_action == "mask"
            for kind, start, end in places_of(text):
                if kind in self.policy.pii:
                    yield Hit(f"pii/{kind}", start, end, f"[{kind}]" if masks else None)

    def _forbidden_words(self, text: str) -> Iterator[Hit]:
        if self._finder is None:
            return
        folded, places = _folded(text)
        for number, start, end in self._finder.find_matches_as_indexes(folded, overlapping=True):
            word = self._words[number]
            if _cuts(folded, start, word[0], before=True) or _cuts(folded, end, word[-1], before=False):
                continue
            yield Hit("word", places[start], places[end - 1] + 1)

    def _leaks(self, text: str) -> Iterator[Hit]:
        if self.canary:
            letters = [(sign.casefold(), at) for at, sign in enumerate(text) if sign.isalnum()]
            run = "".join(sign if len(sign) == 1 else "_" for sign, _ in letters)
            for sought in (self.canary, self.canary[::-1]):
                if (at := run.find(sought)) >= 0:
                    yield Hit("canary", letters[at][1], letters[at + len(sought) - 1][1] + 1)
        if self._secret:
            many = self.policy.leak_words
            words = _words_of(text)
            for at in range(len(words) - many + 1):
                if tuple(word for word, _, _ in words[at : at + many]) in self._secret:
                    yield Hit("leak", words[at][1], words[at + many - 1][2])
                    return


_WORD = re.compile(r"\w+")
_ESCAPE = re.compile(r'\\(?:u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|["\\/bfnrt])')
_BLANKS = re.compile(r"\s{2,}|[^\S ]")
_MOST_UNSEEN = 8  # invisible characters in a row; emoji and flags have no more


@functools.cache
def _runs_of_unseen() -> re.Pattern[str]:
    signs = "".join(map(re.escape, map(chr, unseen())))
    return re.compile(f"([{signs}]{{{_MOST_UNSEEN}}})[{signs}]+")


def _shown(text: str, *, is_json: bool) -> tuple[str, Sequence[tuple[int, int]] | None]:
    """What a reader sees of a text, and where each character of it was; None where nothing differs."""
    escapes = {hit.start(): hit for hit in _ESCAPE.finditer(text)} if is_json and "\\" in text else {}
    if text.isascii() and not escapes:
        return text, None
    pieces: list[str] = []
    places: list[tuple[int, int]] = []
    at = 0
    while at < len(text):
        escape = escapes.get(at)
        end = escape.end() if escape else at + 1
        sign = text[at]
        if escape:
            sign = json.loads(f'"{escape[0]}"').encode("utf-8", "replace").decode()
        if not sign.isascii():
            sign = "" if ord(sign) in unseen() else unicodedata.normalize("NFKC", sign)
        pieces.append(sign)
        places += [(at, end)] * len(sign)
        at = end
    return "".join(pieces), places


def _listed(policy: OutputText) -> list[str]:
    words = list(policy.words)
    if policy.words_file is not None:
        try:
            lines = read_regular(policy.words_file).decode().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{policy.words_file}: cannot be read as UTF-8 text, one word a line ({error})") from error
        words += [line.strip() for line in lines if line.strip()]
    if len(words) > _MOST_WORDS:
        raise UserError(f"text_out: {len(words):,} words are listed, at most {_MOST_WORDS:,} can be")
    return words


def _folded_sign(sign: str) -> str:
    if sign.isascii():
        return sign.lower()
    shown = unicodedata.normalize("NFKD", sign).casefold()
    return "" if unicodedata.category(sign) == "Cf" else shown


def _folded(text: str) -> tuple[str, Sequence[int]]:
    """A text as words are compared, with single blanks, and of each of its characters the place in the text."""
    if text.isascii() and not _BLANKS.search(text):
        return text.lower(), range(len(text))
    pieces: list[str] = []
    places: list[int] = []
    for at, sign in enumerate(text):
        piece = _folded_sign(sign) if not sign.isspace() else " " * (not text[at - 1 : at].isspace())
        pieces.append(piece)
        places += [at] * len(piece)
    return "".join(pieces), places


def _words_of(text: str) -> list[tuple[str, int, int]]:
    """Words as they are compared, without marks, and where each begins and ends."""
    folded, places = _folded(text)
    if not folded.isascii():
        kept = [at for at, sign in enumerate(folded) if unicodedata.category(sign)[0] != "M"]
        folded, places = "".join(folded[at] for at in kept), [places[at] for at in kept]
    return [(hit[0], places[hit.start()], places[hit.end() - 1] + 1) for hit in _WORD.finditer(folded)]


def _cuts(text: str, place: int, edge: str, *, before: bool) -> bool:
    """Whether a word that begins or ends at a place does so inside another word."""
    at = place - 1 if before else place
    if not 0 <= at < len(text) or not edge.isalnum() or _SPACELESS.match(edge):
        return False
    beside = text[at]
    return beside.isalnum() or (not before and unicodedata.combining(beside) != 0)


Ended = Literal["blocked", "length"]


class AnswerFilter:
    """One answer as it is streamed.

    Attributes:
        ended: ``blocked`` or ``length`` once nothing more may be sent.
        hit: what ended it.
        hit_text: the text of it.
        masked: rules by which something was masked.
    """

    def __init__(self, rules: OutputRules, allowed: frozenset[str] = frozenset(), *, is_json: bool = False) -> None:
        """``allowed``: digests (``serving.guard.corrections.digest``) of texts that reviewers let through."""
        self._rules, self._allowed, self._is_json = rules, allowed, is_json
        self._context, self._pending, self._sent = "", "", 0
        self.ended: Ended | None = None
        self.hit: Hit | None = None
        self.hit_text = ""
        self.masked: list[str] = []

    def feed(self, text: str, *, final: bool = False) -> str:
        """Add what the model said; returns what may be sent now. With ``final`` nothing is held back."""
        if self.ended:
            return ""
        policy = self._rules.policy
        # What cannot be sent is not looked at, but for the window that decides about what can.
        said = self._pending + text
        if not said.isascii():
            said = _runs_of_unseen().sub(r"\1", said)
        self._pending = said[: policy.max_chars - self._sent + policy.window]
        whole = self._context + self._pending
        known = len(self._context)
        cut = len(whole) if final else len(whole) - policy.window
        hits = self._rules.hits(whole, is_json=self._is_json) if cut > known else []
        if not final:
            for hit in reversed(hits):  # what is masked is sent once all of it, and what begins in it, is seen
                if hit.mask is not None and known <= hit.start < cut < hit.end:
                    cut = hit.start
        if cut <= known:
            return ""
        return self._capped("".join(self._released(whole, known, cut, hits)))

    def _released(self, whole: str, known: int, cut: int, hits: Sequence[Hit]) -> Iterable[str]:
        at = known
        for hit in hits:
            hidden = whole[hit.start : hit.end]
            if not known < hit.end or hit.start >= cut or (self._allowed and digest(hidden) in self._allowed):
                continue
            if hit.start < known and (hit.mask is not None or (hit.start == 0 and known == _CONTEXT)):
                continue  # sent before; one that seems to begin where the context does may be part of a word
            yield whole[at : hit.start]
            if hit.mask is None:
                self.ended, self.hit, self.hit_text = "blocked", hit, hidden
                return
            if hit.start >= at:
                yield hit.mask
                self.masked.append(hit.rule)
            at = max(at, hit.end)
        end = max(at, cut)
        yield whole[at:end]
        self._context, self._pending = whole[max(end - _CONTEXT, 0) : end], whole[end:]

    def _capped(self, text: str) -> str:
        room = self._rules.policy.max_chars - self._sent
        if len(text) > room and self.ended is None:
            self.ended = "length"
        text = text[:room]
        self._sent += len(text)
        return text
