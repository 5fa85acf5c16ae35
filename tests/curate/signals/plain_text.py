"""The text signals written plainly, as they are defined: what the fast ones must equal."""

import itertools
import math
from collections import Counter

from curate.signals.text import (
    _AFFIRMATIVE,
    _ANSWER_WORD,
    _CALLS,
    _COLOR,
    _CONTROL,
    _DECLINED,
    _FILES,
    _HUES,
    _LONGEST,
    _NUMBER,
    _OBJECTS,
    _PICK,
    _POLITE,
    _QUANTITY,
    _QUOTES,
    _REFUSAL,
    _WORD,
    _YES_NO,
)


def conversation(
    turns,
    images,
    *,
    videos=0,
    audios=0,
    objects=None,
):
    questions = [value for speaker, value in turns if speaker == "user"]
    answers = [value for speaker, value in turns if speaker == "assistant"]
    replies = [*answers, *(value for speaker, value in turns if speaker in _CALLS)]
    question = _without_markers(questions[0]) if questions else ""
    values = [value for _, value in turns]
    files = dict(zip(_FILES, (images, videos, audios), strict=True))
    return {
        "turns": len(turns),
        "question_words": len(question.split()),
        "answer_words": len(answers[0].split()) if answers else 0,
        "empty_answer": not replies or not all(reply.strip() for reply in replies),
        "echoed_answer": any(
            role == "assistant" and before == "user" and _same(value, asked)
            for (before, asked), (role, value) in itertools.pairwise(turns)
        ),
        "refusal": any(is_refusal(answer) for answer in answers),
        "markers_match": _markers_match(turns, files, objects or {}),
        "alternates": _alternates([speaker for speaker, _ in turns]),
        "control_token": next((token for value in values if (token := _control_token(value, files))), None),
        "longest_turn_words": max((len(value.split()) for value in values), default=0),
        "longest_turn_chars": max(map(len, values), default=0),
        "answer_type_mismatch": _mismatch(turns),
    }


def _without_markers(text):
    for marker in _FILES:
        text = text.replace(marker, " ")
    return text


def _markers_match(turns, files, objects):
    asked = "\n".join(value for speaker, value in turns if speaker not in ("assistant", "system", *_CALLS))
    whole = "\n".join(value for _, value in turns)
    return all(asked.count(marker) in (0, number) for marker, number in files.items()) and all(
        whole.count(marker) <= objects.get(marker, 0) for marker in _OBJECTS
    )


def _alternates(speakers):
    start = next((at for at, speaker in enumerate(speakers) if speaker != "system"), len(speakers))
    sides = []
    before = ""
    for speaker in speakers[start:]:
        side = "assistant" if speaker == "assistant" or speaker in _CALLS else "user"
        spoken = speaker in ("user", "assistant", "system") and before in ("user", "assistant", "system", "")
        if speaker == "system" or spoken or not sides or side != sides[-1]:
            sides.append(speaker if speaker == "system" else side)
        before = speaker
    return len(sides) > 0 and sides == ["user", "assistant"] * (len(sides) // 2)


def _control_token(value, files):
    return next((found[0] for found in _CONTROL.finditer(value) if not files.get(found[0])), None)


def _mismatch(turns):
    judged = [
        is_mismatch(" ".join(_without_markers(asked).split()), value)
        for (before, asked), (role, value) in itertools.pairwise(turns)
        if (before, role) == ("user", "assistant")
    ]
    known = [found for found in judged if found is not None]
    return any(known) if known else None


def is_refusal(answer):
    return _REFUSAL.match(answer[:200]) is not None


def votes(answers):
    if not answers:
        return {"agreement": None, "vote_entropy": None}
    counts = Counter(" ".join(answer.casefold().split()) for answer in answers).values()
    shares = [count / len(answers) for count in counts]
    return {"agreement": max(shares), "vote_entropy": math.fsum(-share * math.log2(share) for share in shares) + 0.0}


def _same(answer, question):
    words = _WORD.findall(answer.casefold())
    return bool(words) and words == _WORD.findall(_without_markers(question).casefold())


def is_mismatch(question, answer):
    asked = _QUOTES.sub("", question.casefold()).strip()
    wanted = _wanted(asked)
    if wanted is None:
        return None
    words = _ANSWER_WORD.findall(_QUOTES.sub("", answer.casefold()))
    if not words or len(words) > _LONGEST:
        return False
    given = " ".join(words)
    return not wanted.search(given) and not _DECLINED.search(given)


def _wanted(asked):
    if _NUMBER.match(asked):
        return _QUANTITY
    if _COLOR.match(asked):
        return _HUES
    if _YES_NO.match(asked) and not _PICK.search(asked) and not _POLITE.match(asked):
        return _AFFIRMATIVE
    return None
