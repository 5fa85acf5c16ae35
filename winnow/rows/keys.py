"""What two rows are compared by: their questions, answers and context as normalised texts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from winnow.rows.carried import objects_of
from winnow.rows.conversations import NAMED_ROLES
from winnow.rows.parts import json_text
from winnow.rows.records import Sample, majority, to_record, without_markers

_PUNCTUATION = re.compile(r"[^\w\s]|_")
_PLAIN_ASCII = bytes(ord(sign.lower()) if sign.isalnum() else 32 for sign in map(chr, range(128))).ljust(256)


def normalized(text: str) -> str:
    """The form in which two texts count as the same question or answer.

    NFKC, case folded, punctuation replaced by blanks, blanks collapsed; text that is only punctuation keeps it.
    """
    if text.isascii():
        return b" ".join(text.encode().translate(_PLAIN_ASCII).split()).decode() or text.lower().strip()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(_PUNCTUATION.sub(" ", folded).split()) or folded.strip()


def question_key(record: Mapping[str, Any]) -> str:
    """All user turns of a record in Winnow's form, normalised, joined by line breaks, and its videos and sounds.

    ``<ref-object>`` and ``<bbox>`` count as what they stand for.
    """
    asked = [normalized(without_markers(text, " ")) for speaker, text in _grounded_turns(record) if speaker == "user"]
    meta = record.get("meta") or {}
    files = (meta[key] for key in ("videos", "audios") if isinstance(meta.get(key), list))
    return "\n".join([*asked, *(str(file) for listed in files for file in listed)])


def answer_key(record: Mapping[str, Any]) -> str:
    """All assistant turns and calls of tools, normalised, joined by line breaks; without any, the most frequent
    reference.
    """
    turns = [text for speaker, text in _grounded_turns(record) if _role(speaker) == "assistant"]
    return "\n".join(normalized(turn) for turn in turns or [majority(record.get("answers", []))])


def context_key(record: Mapping[str, Any]) -> str:
    """What else two rows share if one repeats or contradicts the other; '' for a plain question and answer.

    That is the system's turns, the tools and their results. Of a row with a rejected answer or a label it is these and
    the answer too: such rows may prefer one answer here and another there.
    """
    meta = record.get("meta") or {}
    shared = [
        f"{speaker}\n{normalized(text)}"
        for speaker, text in _grounded_turns(record)
        if speaker != "user" and _role(speaker) != "assistant"
    ]
    shared += [json_text(meta["tools"])] if meta.get("tools") else []
    judged = [meta[key] for key in ("rejected", "rejected_messages", "rejected_images") if meta.get(key)]
    judged += [meta["label"]] if isinstance(meta.get("label"), bool) else []
    shared += [json_text(judged), answer_key(record)] if judged else []
    return "\n".join(shared)


def comparison_keys(sample: Sample) -> tuple[str, str, str]:
    """``question_key``, ``answer_key`` and ``context_key`` of a sample's record."""
    if COMPARED.isdisjoint(sample.meta):
        asked, said = [], []
        for turn in sample.conversations:
            if turn.name or turn.role == "system" or ("<" in turn.value and _OBJECT.search(turn.value)):
                break
            if turn.role == "user":
                asked.append(normalized(without_markers(turn.value, " ")))
            else:
                said.append(normalized(turn.value))
        else:  # nearly all are so
            return "\n".join(asked), "\n".join(said or [normalized(majority(sample.answers))]), ""
    record = to_record(sample)
    return question_key(record), answer_key(record), context_key(record)


COMPARED = frozenset(  # keys of `meta` that are compared too
    {"videos", "audios", "objects", "tools", "rejected", "rejected_messages", "rejected_images", "label"}
)


def _role(speaker: str) -> str:
    return NAMED_ROLES.get(speaker, speaker)


_OBJECT = re.compile("<ref-object>|<bbox>")


def _grounded_turns(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Turns as (speaker, text), with the markers of objects replaced by what they stand for."""
    turns = [(turn["from"], turn["value"]) for turn in record.get("conversations", [])]
    objects = {marker: iter(found) for marker, found in objects_of(record.get("meta") or {}).items()}

    def named(found: re.Match[str]) -> str:
        return f" {next(objects[found[0]], found[0])} "

    return [(speaker, _OBJECT.sub(named, text) if "<" in text else text) for speaker, text in turns]
