"""Where a stop text ends an answer: behind the model's thinking and behind its first word."""

from __future__ import annotations

from evalsuite.reading import strip


def opens_thinking(text: str) -> bool:
    """Whether a reply begins with the model's thinking."""
    begins = text.lstrip()
    if channel := strip.HARMONY.match(begins.removeprefix("<|start|>assistant")):
        return channel[1] != "final"
    mark = strip.THINKING.match(begins)
    return mark is not None and not strip.closes(mark)


def prompt_opens_thinking(chat: str) -> bool:
    """Whether a chat template has opened the thinking that the reply goes on with."""
    last = None
    for last in strip.THINKING.finditer(chat[-200:].rstrip()):  # noqa: B007
        pass
    return last is not None and not strip.closes(last) and last.end() == len(chat[-200:].rstrip())


def after_thinking(text: str, *, opened: bool = False) -> int:
    """Where the answer begins: behind the last closing mark; at the end while the thinking goes on.

    Args:
        opened: the prompt has opened the thinking.
    """
    ends = [mark.end() for mark in strip.THINKING.finditer(text) if strip.closes(mark)]
    ends += [channel.end() for channel in strip.HARMONY.finditer(text) if channel[1] == "final"]
    if ends:
        return max(ends)
    return len(text) if opened or opens_thinking(text) else 0


def cut_at_stop(text: str, stop: tuple[str, ...], *, opened: bool = False) -> tuple[str, bool]:
    """``text`` up to the first stop text that follows a word of the answer, and whether there was one.

    A stop text in the thinking, or before any word (a model that begins with a line break), ends nothing.
    """
    begin = after_thinking(text, opened=opened)
    kept = text[:begin] + strip.cut_at_stop(text[begin:], stop)
    return kept, len(kept) < len(text)
