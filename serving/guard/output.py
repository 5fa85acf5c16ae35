"""What a model answers, checked over a sliding window, so that nothing forbidden is sent before it is seen.

The last ``window`` characters of a stream are held back. A match that is not longer than that is seen whole, with the
character after it, before any of it is sent; a longer one may be seen in part.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import ahocorasick_rs
import re2

from curate.signals.pii import places_of
from serving.guard.corrections import digest
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
        self._words = [word for word in map(_folded_word, _listed(policy)) if word]
        self._finder = ahocorasick_rs.AhoCorasick(self._words) if self._words else None
        self._patterns = [(name, re2.compile(pattern)) for name, pattern in policy.patterns.items()]
        secret = _WORD.findall(_folded_word(system_prompt))
        many = policy.leak_words
        self._secret = {tuple(secret[at : at + many]) for at in range(len(secret) - many + 1)}

    def hits(self, text: str) -> list[Hit]:
        """Everything in a text, by where it begins; what ends the answer before what is masked."""
        found = [*self._forbidden_words(text), *self._leaks(text)]
        for name, pattern in self._patterns:
            found += [Hit(f"pattern/{name}", *match.span()) for match in pattern.finditer(text)]
        if self.policy.pii:
            masks = self.policy.pii_action == "mask"
            found += [
                Hit(f"pii/{kind}", start, end, f"[{kind}]" if masks else None)
                for kind, start, end in places_of(text)
                if kind in self.policy.pii
            ]
        return sorted(found, key=lambda hit: (hit.start, hit.mask is not None, -hit.end))

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
            letters = [(sign.lower(), at) for at, sign in enumerate(text) if sign.isalnum()]
            run = "".join(sign if len(sign) == 1 else "_" for sign, _ in letters)
            for sought in (self.canary, self.canary[::-1]):
                if (at := run.find(sought)) >= 0:
                    yield Hit("canary", letters[at][1], letters[at + len(sought) - 1][1] + 1)
        if self._secret:
            many = self.policy.leak_words
            words = [(_folded_word(match[0]), *match.span()) for match in _WORD.finditer(text)]
            for at in range(len(words) - many + 1):
                if tuple(word for word, _, _ in words[at : at + many]) in self._secret:
                    yield Hit("leak", words[at][1], words[at + many - 1][2])
                    return


_WORD = re.compile(r"\w+")


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


def _folded_word(word: str) -> str:
    return "".join(map(_folded_sign, word))


def _folded(text: str) -> tuple[str, Sequence[int]]:
    """A text as words are compared, and of each of its characters the place in the text."""
    if text.isascii():
        return text.lower(), range(len(text))
    pieces: list[str] = []
    places: list[int] = []
    for at, sign in enumerate(text):
        piece = _folded_sign(sign)
        pieces.append(piece)
        places += [at] * len(piece)
    return "".join(pieces), places


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

    def __init__(self, rules: OutputRules, allowed: frozenset[str] = frozenset()) -> None:
        """``allowed``: digests (``serving.guard.corrections.digest``) of texts that reviewers let through."""
        self._rules, self._allowed = rules, allowed
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
        self._pending = (self._pending + text)[: policy.max_chars - self._sent + policy.window]
        whole = self._context + self._pending
        known = len(self._context)
        cut = len(whole) if final else len(whole) - policy.window
        hits = self._rules.hits(whole) if cut > known else []
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
            if not known <= hit.start < cut or (self._allowed and digest(hidden) in self._allowed):
                continue
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
