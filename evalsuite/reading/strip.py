"""What surrounds an answer, taken off: thinking, special tokens of chat templates, Markdown and LaTeX.

Every function is linear in the length of the text and returns it unchanged where it has no such marks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_NAMES = (
    r"think(?:ing)?|thoughts?|reasoning|reflection|scratchpad|inner_monologue|seed:think|seed:cot_budget_reflect"
    r"|mm:think|longcat_think|antml:thinking"
)
# One alternative a family of models: tags (DeepSeek, Qwen, GLM, Claude …), Kimi, Mistral, Cohere and others, Gemma.
THINKING = re.compile(
    rf"<(?P<a>/?)(?:{_NAMES})(?:\s[^<>\n]{{0,80}})?>|◁(?P<b>/?)think▷|\[(?P<c>/?)THINK(?:ING)?\]"
    r"|<\|(?:begin_of_thought|start_thinking|thinking|think)\|>"
    r"|(?P<end><\|(?:end_of_thought|end_thinking|/thinking|/think)\|>|<unused95>)|<unused94>",
    re.IGNORECASE,
)
# A channel of gpt-oss: all but "final" are thinking.
HARMONY = re.compile(r"<\|channel\|>\s*(\w+)[^<]{0,80}<\|message\|>")
_TOKEN = re.compile(
    r"<[|｜](?!(?:begin|end)_of_box|box_|ref_|object_ref|det|ground)[^<>|｜\n]{1,40}[|｜]>|</?s>"
    r"|<(?:eos|bos|pad|unk|image|end_of_(?:turn|utterance|text)|start_of_(?:turn|image))>|\[/?INST\]"
)
_ENDS_TURN = re.compile(
    r"<[|｜](?:im_end|eot_id|eot|end|endoftext|end_of_text|end_of_turn|end▁of▁sentence|eom_id|return|user"
    r"|END_OF_TURN_TOKEN|role_end|message_end)[|｜]>|</s>|<eos>|<end_of_(?:turn|utterance|text)>|\[/INST\]"
)
_OPENS_TURN = re.compile(
    r"\s*(?:<[|｜](?:im_start|start_header_id|start|assistant|Assistant)[|｜]>|<start_of_turn>)\s*(?:assistant|model)?"
    r"(?:<\|(?:end_header_id|message)\|>)?\s*"
)

_MARKDOWN_HINT = re.compile(r"[*_`#\\~$]|(?:^|\n)[ \t]*[-+•>][ \t]")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]*[ \t]*\n?|\n?[ \t]*(?:```|~~~)[ \t]*$", re.MULTILINE)
_LINE_START = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|[-*+•][ \t]+|>[ \t]+)+", re.MULTILINE)
_BOLD = re.compile(r"(\*{2,3})(?=[^\s*])([^*\n]*[^\s*])\1")
_ITALIC = re.compile(r"(?<![\w*])\*(?=[^\s*])([^*\n]*[^\s*])\*(?![\w*])")
_UNDERSCORES = re.compile(r"(?<!\w)(_{1,2})(?=[^\s_])([^_\n]*[^\s_])\1(?!\w)")
_CODE = re.compile(r"`([^`\n]*)`")
_LATEX_TEXT = re.compile(
    r"\\(?:text|mathrm|mathbf|textbf|mathit|textit|texttt|mathsf|operatorname|mbox|emph)\{([^{}\n]*)\}"
)
_LATEX_MARKS = re.compile(r"\\[()\[\]]|\\[,;!:]|\\(?:left|right|displaystyle)(?![a-zA-Z])|\$\$")
_LATEX_ESCAPED = re.compile(r"\\([%$#&_{}])")
_MATH = re.compile(r"(?<![\\$\w])\$(?=[^\s$])([^$\n]*[^\s$\\])\$(?![\d$])")


def without_thinking(text: str) -> str:
    """The reply without blocks of thinking.

    A closing tag alone ends thinking whose opening tag was in the prompt; what an opening tag begins and no
    closing tag ends is thinking up to the end of the reply.
    """
    if "<" in text or "[" in text or "◁" in text:
        if "<|channel|>" in text:
            text = _final_channel(text)
        if THINKING.search(text):
            text = _outside(text)
    elif text.startswith("analysis") and "assistantfinal" in text:  # the same channels, special tokens left out
        text = text.rpartition("assistantfinal")[2]
    return text


def closes(mark: re.Match[str]) -> bool:
    """Whether a match of ``THINKING`` ends thinking."""
    return bool(mark["a"] or mark["b"] or mark["c"] or mark["end"])


def _outside(text: str) -> str:
    kept: list[str] = []
    begin = 0
    thinking = False
    for mark in THINKING.finditer(text):
        if closes(mark):
            if not thinking:
                kept.clear()
            begin, thinking = mark.end(), False
        elif not thinking:
            kept.append(text[begin : mark.start()])
            thinking = True
    if not thinking:
        kept.append(text[begin:])
    return "".join(kept)


def _final_channel(text: str) -> str:
    """The text of the last ``final`` channel of the harmony format; empty if there are only other channels."""
    found = list(HARMONY.finditer(text))
    last = next((mark for mark in reversed(found) if mark[1] == "final"), None)
    if last is not None:
        return text[last.end() :]
    return text[: found[0].start()] if found else text


def without_special_tokens(text: str) -> str:
    """The reply without tokens of chat templates; what follows the end of the model's turn is left out.

    Marks of answer boxes and of places in an image are kept: readers read them.
    """
    if "<" not in text and "[" not in text:
        return text
    if opening := _OPENS_TURN.match(text):
        text = text[opening.end() :]
    kept: list[str] = []
    begin, words = 0, False
    for token in _TOKEN.finditer(text):
        kept.append(text[begin : token.start()])
        begin = token.end()
        words = words or bool(kept[-1].strip())
        if words and _ENDS_TURN.fullmatch(token[0]):
            return "".join(kept)
    return "".join([*kept, text[begin:]])


def plain_words(text: str) -> str:
    """The words of Markdown, and of LaTeX around words: no emphasis, headings, bullets, fences, ``\\text{}``, ``$``."""
    if not _MARKDOWN_HINT.search(text):
        return text
    if "```" in text or "~~~" in text:
        text = _FENCE.sub("", text)
    text = _LINE_START.sub("", text)
    if "*" in text:
        text = _ITALIC.sub(r"\1", _BOLD.sub(r"\2", text))
    if "_" in text:
        text = _UNDERSCORES.sub(r"\2", text)
    if "`" in text:
        text = _CODE.sub(r"\1", text)
    if "\\" in text or "$" in text:
        text = _LATEX_TEXT.sub(r"\1", text)
        text = _MATH.sub(r"\1", text)
        text = _LATEX_ESCAPED.sub(r"\1", _LATEX_MARKS.sub(" ", text)).strip()
    return text


def cut_at_stop(text: str, stop: Sequence[str]) -> str:
    """``text`` up to the first stop text that follows a word."""
    begin = len(text) - len(text.lstrip())
    found = [place for place in (text.find(end, begin) for end in stop) if place >= 0]
    return text[: min(found)] if found else text
