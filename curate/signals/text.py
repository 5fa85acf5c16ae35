"""What a conversation and its references show without looking at the image.

One of the columns says whether a short English answer can be an answer to its question at all. Three kinds of question
show by their first words what an answer looks like:

- yes/no (``is there``, ``does he``, ``can you see`` …, without ``or``): the answer has yes, no, or the like
- number (``how many``, ``what number``, ``number of``): the answer has a digit, a number word, or ``none``, ``many`` …
- colour (``what colour``, ``which color``): the answer has the name of a colour, ``clear``, ``striped`` …

Other questions, and answers of more than five words (a whole sentence can say yes without the word), are not judged.
An answer that declines (``unanswerable``, ``unknown``, ``not sure``) fits every question.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from curate.signals.base import Signal
from curate.signals.memo import Remembered

IMAGE_MARKER = "<image>"
_REFUSAL = re.compile(
    r"""^\W*(?:
        (?:i['’]?m|i\ am|we['’]?re|we\ are)\ (?:very\ |so\ |really\ )?(?:sorry|unable\ to|not\ able\ to)\b
      | (?:sorry|apologies|my\ apologies|unfortunately)\s*[,:;.!–-]?\s*(?:but\ )?(?:i|we|as)\b
      | i\ apologi[sz]e
      | as\ an?\ (?:ai|artificial\ intelligence|(?:large\ )?language\ model|text[- ](?:based|only))\b
      | i\ (?:can(?:no|['’])?t|can\ not|do\ not|don['’]t)\ (?:have\ the\ ability\ to\ )?
        (?:see|view|access|assist|help|provide|answer|identify|determine|process|analy[sz]e|fulfil+|comply|generate|discuss)\b
      | (?:there\ is\ )?no\ image\ (?:was\ |is\ |has\ been\ )?(?:provided|attached|uploaded|available|visible)\b
      | (?:could|can)\ you\ (?:please\ )?(?:provide|upload|share)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_WORD = re.compile(r"\w+")
# What chat templates and tokenisers put around turns: as text inside a turn it ends or forges one in training.
_CONTROL = re.compile(
    r"""<\|[\w.\- ]{1,40}\|>                                  # ChatML, Llama 3, Phi, GPT: <|im_start|>, <|eot_id|>
      | <｜[^｜<>]{1,40}｜>                                 # DeepSeek
      | \[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|IMG|IMG_BREAK|IMG_END)\]  # Mistral
      | <</?SYS>>                                         # Llama 2
      | </?s> | <(?:bos|eos|pad|unk|mask)> | \[(?:CLS|SEP|PAD|UNK|MASK|BOS|EOS)\]
      | <(?:start_of_turn|end_of_turn|start_of_image|end_of_image|image_soft_token)>  # Gemma
      | <(?:end_of_utterance|fake_token_around_image|global-img|row_\d+_col_\d+)>    # Idefics, SmolVLM
      | <(?:image_pad|video_pad|img|/img|IMG_CONTEXT|image_placeholder|im_patch|im_start|im_end|video|audio)>""",
    re.VERBOSE,
)


# Who speaks where a tool is called; any other name than user, assistant and system is the tool's.
_CALLS = frozenset({"tool_call", "function_call"})
_FILES = (IMAGE_MARKER, "<video>", "<audio>")
_OBJECTS = ("<ref-object>", "<bbox>")


def conversation(
    turns: Sequence[tuple[str, str]],
    images: int,
    *,
    videos: int = 0,
    audios: int = 0,
    objects: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Columns of a conversation.

    Args:
        turns: (speaker, value) pairs; the speaker is ``user``, ``assistant``, ``system``, or says that a tool is
            called (``tool_call``, ``function_call``) or answers (any other name).
        images, videos, audios: numbers of files that the row has.
        objects: how many of ``<ref-object>`` and ``<bbox>`` the row can replace.
    """
    if len(turns) == 2 and turns[0][0] == "user" and turns[1][0] == "assistant":
        question, answer = turns[0][1], turns[1][1]
        if not ("<" in question or "<" in answer or "[" in question or "[" in answer):
            return _plain_pair(question, answer)
    plain = not any("<" in value for _, value in turns)  # no marker
    questions = [value for speaker, value in turns if speaker == "user"]
    answers = [value for speaker, value in turns if speaker == "assistant"]
    replies = [*answers, *(value for speaker, value in turns if speaker in _CALLS)]
    question = _without_markers(questions[0]) if questions else ""
    values = [value for _, value in turns]
    files = dict(zip(_FILES, (images, videos, audios), strict=True))
    return {
        "turns": len(turns),
        "question_words": _WORDS[question],
        "answer_words": _WORDS[answers[0]] if answers else 0,
        "empty_answer": not replies or not all(reply.strip() for reply in replies),
        "echoed_answer": any(
            role == "assistant" and before == "user" and _same(value, asked)
            for (before, asked), (role, value) in itertools.pairwise(turns)
        ),
        "refusal": any(is_refusal(answer) for answer in answers),
        "markers_match": plain or _markers_match(turns, files, objects or {}),
        "alternates": _alternates(tuple([speaker for speaker, _ in turns])),
        "control_token": next((token for value in values if (token := _control_token(value, files))), None),
        "longest_turn_words": max(map(_WORDS.__getitem__, values), default=0),
        "longest_turn_chars": max(map(len, values), default=0),
        "answer_type_mismatch": _mismatch(turns),
    }


def _plain_pair(question: str, answer: str) -> dict[str, Any]:
    """``conversation`` of a question and its answer without markers and tokens, as most are."""
    asked, said = _WORDS[question], _WORDS[answer]
    return {
        "turns": 2,
        "question_words": asked,
        "answer_words": said,
        "empty_answer": not said,
        "echoed_answer": _same(answer, question),
        "refusal": _REFUSALS[answer],
        "markers_match": True,
        "alternates": True,
        "control_token": None,
        "longest_turn_words": max(asked, said),
        "longest_turn_chars": max(len(question), len(answer)),
        "answer_type_mismatch": is_mismatch(" ".join(question.split()), answer),
    }


_WORDS: Remembered[int] = Remembered(lambda text: len(text.split()))


def _without_markers(text: str) -> str:
    for marker in _FILES if "<" in text else ():
        text = text.replace(marker, " ")
    return text


def _markers_match(turns: Sequence[tuple[str, str]], files: Mapping[str, int], objects: Mapping[str, int]) -> bool:
    asked = "\n".join(value for speaker, value in turns if speaker not in ("assistant", "system", *_CALLS))
    whole = "\n".join(value for _, value in turns)
    return all(asked.count(marker) in (0, number) for marker, number in files.items()) and all(
        whole.count(marker) <= objects.get(marker, 0) for marker in _OBJECTS
    )


@functools.lru_cache(maxsize=1024)
def _alternates(speakers: tuple[str, ...]) -> bool:
    """Whether the user asks and the assistant answers, by turns; calls and answers of tools may come in a row."""
    start = next((at for at, speaker in enumerate(speakers) if speaker != "system"), len(speakers))
    sides: list[str] = []
    before = ""
    for speaker in speakers[start:]:
        side = "assistant" if speaker == "assistant" or speaker in _CALLS else "user"
        spoken = speaker in ("user", "assistant", "system") and before in ("user", "assistant", "system", "")
        if speaker == "system" or spoken or not sides or side != sides[-1]:
            sides.append(speaker if speaker == "system" else side)
        before = speaker
    return len(sides) > 0 and sides == ["user", "assistant"] * (len(sides) // 2)


def _control_token(value: str, files: Mapping[str, int]) -> str | None:
    """The first token of a chat template that is no marker of a file which the row has."""
    if "<" not in value and "[" not in value:  # with which all of them begin
        return None
    return next((found[0] for found in _CONTROL.finditer(value) if not files.get(found[0])), None)


def _mismatch(turns: Sequence[tuple[str, str]]) -> bool | None:
    """Whether any answer is of another kind than its question asks for; None if no question asks for a kind."""
    judged = [
        is_mismatch(" ".join(_without_markers(asked).split()), value)
        for (before, asked), (role, value) in itertools.pairwise(turns)
        if (before, role) == ("user", "assistant")
    ]
    known = [found for found in judged if found is not None]
    return any(known) if known else None


def is_refusal(answer: str) -> bool:
    """Whether a text opens as assistants refuse."""
    return _REFUSALS[answer]


_REFUSALS: Remembered[bool] = Remembered(lambda answer: _REFUSAL.match(answer[:200]) is not None)


def votes(answers: Sequence[str]) -> dict[str, float | None]:
    """Agreement (0–1) and entropy (bits) of references; None without any."""
    if not answers:
        return {"agreement": None, "vote_entropy": None}
    plain = [_PLAIN[answer] for answer in answers]
    counts = map(plain.count, {*plain}) if len(plain) <= _FEW else Counter(plain).values()
    agreement, entropy = _agreement(tuple(sorted(counts)))
    return {"agreement": agreement, "vote_entropy": entropy}


_FEW = 16  # answers that are counted faster without a Counter
_PLAIN: Remembered[str] = Remembered(lambda answer: " ".join(answer.casefold().split()))


@functools.lru_cache(maxsize=4096)
def _agreement(counts: tuple[int, ...]) -> tuple[float, float]:
    shares = [count / sum(counts) for count in counts]
    return max(shares), math.fsum(-share * math.log2(share) for share in shares) + 0.0


def _same(answer: str, question: str) -> bool:
    if answer.isascii() and question.isascii() and "<" not in question:  # most differ in their first word
        first, asked = _WORD.search(answer), _WORD.search(question)
        if first is None or asked is None or first[0].lower() != asked[0].lower():
            return False
    words = _WORD.findall(answer.casefold())
    return bool(words) and words == _WORD.findall(_without_markers(question).casefold())


_LONGEST = 5
_QUOTES = re.compile(r"['’`]")
_ANSWER_WORD = re.compile(r"[a-z]+|\d+")

_YES_NO = re.compile(
    r"""(?:so\ |and\ |but\ |now\ )?
    (?:is|are|was|were|am|do|does|did|can|could|will|would|should|has|have|had|may|might|must|
       isnt|arent|wasnt|werent|dont|doesnt|didnt|cant|couldnt|wont|wouldnt|shouldnt|hasnt|havent)\ """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"(?:about |approximately |roughly )?(?:how many|what number of|what is the number of)\b")
_COLOR = re.compile(r"(?:what|which) (?:is the |are the )?colou?rs?\b")
_PICK = re.compile(r"\bor\b|[,;] (?:in |on |at |to )?(?:which|what|who|where|when|why|how)\b")
_POLITE = re.compile(r"^(?:can|could|would|will) you (?:please )?(?!see\b|find\b|spot\b|tell if\b|tell whether\b)")

_DECLINED = re.compile(
    r"\b(?:unanswerable|unsuitable|unknown|unclear|unsure|uncertain|undetermined|not (?:sure|clear|visible|possible"
    r"|given|applicable|enough)|cant (?:tell|see|say|answer)|cannot|cant|dont know|do not know|idk|n a|maybe|possibly"
    r"|impossible|depends|it depends|no idea|invalid)\b"
)
_AFFIRMATIVE = re.compile(
    r"\b(?:yes|no|yeah|yep|yup|nope|nah|y|n|true|false|correct|incorrect|right|wrong|not|never|none|nothing|nobody"
    r"|probably|likely|unlikely|definitely|certainly|absolutely|sure|of course|indeed|partially|partly|somewhat"
    r"|sometimes|kind of|sort of|almost|both|neither|either|it is|it isnt|they are|they do|he is|she is|there is"
    r"|there are|does|doesnt|isnt|arent|dont|can)\b"
)
_QUANTITY = re.compile(
    r"\d|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen"
    r"|seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|millions?"
    r"|billions?|dozens?|pair|pairs|couple|half|quarter|single|double|triple|once|twice|none|no|nothing|nobody|a|an|many"
    r"|few|several|some|lots|lot|all|both|multiple|numerous|countless|infinite|various|too many|more|most|over|under)\b"
)
_HUES = re.compile(
    r"""\b(?:(?:light|dark|pale|deep|bright|off|navy|sky|lime|hot|baby|royal)?
    (?:black|white|gr[ae]y|silver|red|orange|yellow|green|blue|purple|pink|brown|beige|tan|gold|golden|cream|ivory|teal
    |turquoise|aqua|cyan|magenta|violet|indigo|lavender|lilac|maroon|burgundy|crimson|scarlet|navy|olive|khaki|lime|mint
    |peach|coral|salmon|rose|rust|copper|bronze|brass|charcoal|chestnut|chocolate|mustard|amber|auburn|blond|blonde
    |brunette|fuchsia|mauve|plum|taupe|sepia|emerald|jade|ruby|sapphire|azure|cerulean|ginger|wood|wooden|metal|metallic
    |chrome|steel|clear|transparent|translucent|colou?rless|multi|multicolou?red|multicolou?r|rainbow|colou?rful|colou?red
    |various|many|none|no\ colou?r|neutral|natural|plaid|striped|stripes|checkered|camouflage|camo|calico|tabby|spotted
    |dark|light|bright|pale|neon|pastel|mixed|all|both|same|different|hot|earth|matching)(?:ish|er|est|s|y)?)\b""",
    re.VERBOSE,
)


def is_mismatch(question: str, answer: str) -> bool | None:
    """Whether ``answer`` is of another kind than ``question`` asks for; None where no kind is asked for."""
    wanted = _ASKED[question]
    if wanted is None:
        return None
    given = _SHORT[answer]
    return bool(given) and not _is_answer(wanted, given)


def _short(answer: str) -> str:
    """The words of an answer; '' if it has none, or more than are judged."""
    words = _ANSWER_WORD.findall(_QUOTES.sub("", answer.casefold()))
    return " ".join(words) if len(words) <= _LONGEST else ""


_SHORT: Remembered[str] = Remembered(_short)


@functools.lru_cache(maxsize=1 << 14)
def _is_answer(wanted: re.Pattern[str], given: str) -> bool:
    return wanted.search(given) is not None or _DECLINED.search(given) is not None


def _wanted(question: str) -> re.Pattern[str] | None:
    asked = _QUOTES.sub("", question.casefold()).strip()
    if _NUMBER.match(asked):
        return _QUANTITY
    if _COLOR.match(asked):
        return _HUES
    if _YES_NO.match(asked) and not _PICK.search(asked) and not _POLITE.match(asked):
        return _AFFIRMATIVE
    return None


_ASKED: Remembered[re.Pattern[str] | None] = Remembered(_wanted)
SIGNALS = (
    Signal(
        "text",
        3,
        {
            "turns": "number of turns",
            "question_words": "words (split at white space) of the first user turn, markers removed",
            "answer_words": "words of the first assistant turn",
            "empty_answer": "an assistant turn (or call of a tool) is blank, or there is none",
            "echoed_answer": "an assistant turn repeats the user turn before it (letters and digits compared,"
            " case folded)",
            "refusal": 'an assistant turn opens with a refusal ("I\'m sorry, but …", "As an AI …", "I cannot …")',
            "markers_match": "as many <image> markers in user turns as images, or none at all; likewise <video> and"
            " <audio>; no more <ref-object> and <bbox> than objects",
            "alternates": "after system turns, user and assistant take turns, user first, assistant last; several"
            " calls and answers of tools may follow one another",
            "control_token": "the first chat-template token that stands in a turn (<|im_start|>, [INST], </s>, …);"
            " else null; <video> and <audio> are none in a row that has videos or sounds",
            "longest_turn_words": "words of the longest turn",
            "longest_turn_chars": "characters of the longest turn",
            "answer_type_mismatch": "a short answer is of another kind than its question asks for (yes/no, number,"
            " colour); null if no question asks for such a kind, see curate.signals.text",
            "agreement": "0–1: share of the most frequent reference (case folded, blanks collapsed); null without"
            " references",
            "vote_entropy": "bits: Shannon entropy of the references; 0 if all agree; null without references",
        },
        types={
            **dict.fromkeys(("turns", "question_words", "answer_words"), pa.int32()),
            **dict.fromkeys(("longest_turn_words", "longest_turn_chars"), pa.int32()),
            **dict.fromkeys(("empty_answer", "echoed_answer", "refusal", "markers_match", "alternates"), pa.bool_()),
            "control_token": pa.string(),
            "answer_type_mismatch": pa.bool_(),
        },
    ),
)
