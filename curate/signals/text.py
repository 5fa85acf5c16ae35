"""What can be said about a conversation and its references without looking at the picture."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

VERSION = 1
IMAGE_MARKER = "<image>"
COLUMNS = {
    "turns": "number of turns",
    "question_words": "words (split at white space) of the first user turn, markers removed",
    "answer_words": "words of the first assistant turn",
    "empty_answer": "an assistant turn is blank, or there is none",
    "echoed_answer": "an assistant turn repeats the user turn before it (letters and digits compared, case folded)",
    "refusal": 'an assistant turn opens with a refusal ("I\'m sorry, but …", "As an AI …", "I cannot …")',
    "markers_match": "as many <image> markers in user turns as images, or none at all",
    "alternates": "after system turns, user and assistant take turns, user first, assistant last",
    "agreement": "0–1: share of the most frequent reference (case folded, blanks collapsed); null without references",
    "vote_entropy": "bits: Shannon entropy of the references; 0 if all agree; null without references",
}
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


def conversation(turns: Sequence[tuple[str, str]], images: int) -> dict[str, Any]:
    """Facts of a conversation of (role, value) pairs about ``images`` pictures; see ``COLUMNS``."""
    questions = [value for role, value in turns if role == "user"]
    answers = [value for role, value in turns if role == "assistant"]
    question = questions[0].replace(IMAGE_MARKER, " ") if questions else ""
    roles = [role for role, _ in turns]
    spoken = roles[next((at for at, role in enumerate(roles) if role != "system"), len(roles)) :]
    markers = sum(value.count(IMAGE_MARKER) for value in questions)
    return {
        "turns": len(turns),
        "question_words": len(question.split()),
        "answer_words": len(answers[0].split()) if answers else 0,
        "empty_answer": not answers or not all(answer.strip() for answer in answers),
        "echoed_answer": any(
            role == "assistant" and before == "user" and _same(value, asked)
            for (before, asked), (role, value) in itertools.pairwise(turns)
        ),
        "refusal": any(is_refusal(answer) for answer in answers),
        "markers_match": markers in (0, images),
        "alternates": len(spoken) > 0 and len(spoken) % 2 == 0 and spoken == ["user", "assistant"] * (len(spoken) // 2),
    }


def is_refusal(answer: str) -> bool:
    """Whether a text opens as assistants refuse."""
    return _REFUSAL.match(answer[:200]) is not None


def votes(answers: Sequence[str]) -> dict[str, float | None]:
    """Agreement and entropy of references."""
    if not answers:
        return {"agreement": None, "vote_entropy": None}
    counts = Counter(" ".join(answer.casefold().split()) for answer in answers).values()
    shares = [count / len(answers) for count in counts]
    return {"agreement": max(shares), "vote_entropy": math.fsum(-share * math.log2(share) for share in shares) + 0.0}


def _same(answer: str, question: str) -> bool:
    words = _WORD.findall(answer.casefold())
    return bool(words) and words == _WORD.findall(question.replace(IMAGE_MARKER, " ").casefold())
