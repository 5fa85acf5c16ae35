"""Markdown and LaTeX of data sets and models as HTML that is safe to show: it runs nothing and loads nothing.

Three walls stand behind one another: the parser reads no HTML, formulas are written element by element from a list of
MathML's, and a sanitiser goes over the whole. Pictures and links stay the text that they are written as.
"""

from __future__ import annotations

import functools
import html
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any
from xml.etree.ElementTree import Element

import nh3

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

LONGEST = 20_000  # characters that are rendered; what follows is left out
_LONGEST_FORMULA = 2_000
_MOST_FORMULAS = 200
_DEEPEST = 100  # elements of MathML inside one another
_HTML = (
    "p", "br", "hr", "h1", "h2", "h3", "h4", "h5", "h6", "strong", "em", "s", "code", "pre", "blockquote",
    "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "span", "div",
)  # fmt: skip
_MATHML = (
    "math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "msup", "msub", "msubsup", "mfrac", "msqrt", "mroot",
    "munder", "mover", "munderover", "mtable", "mtr", "mtd", "mstyle", "mpadded", "mphantom", "menclose",
)  # fmt: skip
_ATTRIBUTES: dict[str, set[str]] = {
    "ol": {"start"},
    "span": {"class"},
    "div": {"class"},
    "math": {"display"},
    "mo": {"stretchy", "fence", "separator", "form", "accent", "minsize", "maxsize", "movablelimits", "largeop"},
    "mi": {"mathvariant"},
    "mspace": {"width", "linebreak"},
    "mfrac": {"linethickness", "bevelled"},
    "mover": {"accent"},
    "munder": {"accentunder"},
    "mtable": {"columnalign", "rowspacing", "columnspacing", "columnlines", "rowlines", "displaystyle"},
    "mtd": {"columnalign"},
    "mstyle": {"displaystyle", "scriptlevel", "mathcolor"},
    "menclose": {"notation"},
    "mpadded": {"width", "height", "depth", "lspace", "voffset"},
}
_CLASSES = {"source", "display"}


def render(text: str) -> str:
    """HTML of a text in Markdown, with formulas in ``$…$``, ``$$…$$``, ``\\(…\\)`` and ``\\[…\\]``.

    HTML in it is shown as text. A formula that cannot be read is shown as it is written.
    """
    shown = _parser().render(text[:LONGEST].replace("\0", "\ufffd"), {"formulas": 0})
    return nh3.clean(
        shown, tags={*_HTML, *_MATHML}, attributes={**_ATTRIBUTES, "span": set(), "div": set()},
        allowed_classes={"span": _CLASSES, "div": _CLASSES}, url_schemes=set(), link_rel=None, strip_comments=True,
    )  # fmt: skip


@functools.cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.dollarmath import dollarmath_plugin

    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "maxNesting": _DEEPEST})
    parser.enable(["table", "strikethrough"]).disable(["reference", "link", "image", "autolink"])
    dollarmath_plugin(parser, allow_space=False, allow_digits=False, double_inline=True)
    parser.inline.ruler.before("escape", "bracket_math", _bracket_math)
    for name in ("math_inline", "math_inline_double", "math_block", "math_block_label", "bracket_math"):
        parser.add_render_rule(name, _math)
    parser.add_render_rule("fence", _code)
    parser.add_render_rule("code_block", _code)
    return parser


_BRACKETS = {"\\(": "\\)", "\\[": "\\]"}


def _bracket_math(state: StateInline, silent: bool) -> bool:
    opening = state.src[state.pos : state.pos + 2]
    closing = _BRACKETS.get(opening)
    if closing is None or state.env.get(closing) is state.src:
        return False
    end = state.src.find(closing, state.pos + 2)
    if end < 0:
        state.env[closing] = state.src  # looked for once: the text may have thousands
        return False
    if not silent:
        token = state.push("bracket_math", "math", 0)
        token.content, token.markup = state.src[state.pos + 2 : end], opening
    state.pos = end + 2
    return True


def _math(_: RendererHTML, tokens: Sequence[Token], number: int, __: Any, env: MutableMapping[str, Any]) -> str:
    token = tokens[number]
    display = token.type not in ("math_inline", "bracket_math") or token.markup == "\\["
    env["formulas"] += 1
    found = math_of(token.content, display) if env["formulas"] <= _MOST_FORMULAS else None
    if found is None:
        return f'<span class="source">{html.escape(token.content)}</span>'
    return f'<div class="display">{found}</div>' if token.block else found


def math_of(formula: str, display: bool) -> str | None:
    """MathML of a formula; None for one that is too long, too deep, or not LaTeX that the library reads."""
    from latex2mathml import converter, exceptions

    if len(formula) > _LONGEST_FORMULA:
        return None
    unreadable = tuple(vars(exceptions)[name] for name in vars(exceptions) if name.endswith("Error"))
    try:
        found = converter.convert_to_element(formula, display="block" if display else "inline")
        return _written(found, 0)
    except (*unreadable, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        return None


def _written(element: Element, depth: int) -> str:
    """The element as HTML; the library's own writer leaves ``<`` in a text as it is.

    Raises:
        ValueError: it is nested too deeply.
    """
    if depth > _DEEPEST:
        raise ValueError("nested too deeply")
    inside = _text(element.text)
    inside += "".join(_written(child, depth + 1) + _text(child.tail) for child in element)
    if element.tag not in _MATHML:
        return f"<mrow>{inside}</mrow>"
    known: Mapping[str, str] = {
        key: value for key, value in element.attrib.items() if key in _ATTRIBUTES.get(element.tag, ())
    }
    given = "".join(f' {key}="{html.escape(html.unescape(value))}"' for key, value in known.items())
    return f"<{element.tag}{given}>{inside}</{element.tag}>"


def _text(text: str | None) -> str:
    return html.escape(html.unescape(text or ""))  # the library writes symbols as &#x…;


def _code(_: RendererHTML, tokens: Sequence[Token], number: int, __: Any, ___: Any) -> str:
    return f"<pre><code>{html.escape(tokens[number].content)}</code></pre>\n"
