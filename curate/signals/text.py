"""What can be said about a conversation and its references without looking at the image."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from curate.signals.answer_type import is_mismatch

VERSION = 2
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
    "control_token": "the first chat-template token that stands in a turn (<|im_start|>, [INST], </s>, …); else null",
    "longest_turn_words": "words of the longest turn",
    "longest_turn_chars": "characters of the longest turn",
    "answer_type_mismatch": "a short answer is of another kind than its question asks for (yes/no, number, colour);"
    " null if no question asks for such a kind, see curate.signals.answer_type",
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


def conversation(turns: Sequence[tuple[str, str]], images: int) -> dict[str, Any]:
    """Facts of a conversation of (role, value) pairs about ``images`` images; see ``COLUMNS``."""
    questions = [value for role, value in turns if role == "user"]
    answers = [value for role, value in turns if role == "assistant"]
    question = questions[0].replace(IMAGE_MARKER, " ") if questions else ""
    roles = [role for role, _ in turns]
    spoken = roles[next((at for at, role in enumerate(roles) if role != "system"), len(roles)) :]
    values = [value for _, value in turns]
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
        "control_token": next((found[0] for value in values if (found := _CONTROL.search(value))), None),
        "longest_turn_words": max((len(value.split()) for value in values), default=0),
        "longest_turn_chars": max(map(len, values), default=0),
        "answer_type_mismatch": _mismatch(turns),
    }


def _mismatch(turns: Sequence[tuple[str, str]]) -> bool | None:
    """Whether any answer is of another kind than its question asks for; None if no question asks for a kind."""
    judged = [
        is_mismatch(" ".join(asked.replace(IMAGE_MARKER, " ").split()), value)
        for (before, asked), (role, value) in itertools.pairwise(turns)
        if (before, role) == ("user", "assistant")
    ]
    known = [one for one in judged if one is not None]
    return any(known) if known else None


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
