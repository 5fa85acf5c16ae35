import html.parser
import time

import nh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.review.markdown import _ATTRIBUTES, _HTML, _MATHML, LONGEST, math_of, render

# Ways to run a script or to load something from elsewhere, as they are tried on Markdown, HTML and MathML.
ATTACKS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](http://a.example \"onmouseover=alert(1)\")",
    "![x](http://a.example/p.png)",
    "![x](x\"onerror=\"alert(1))",
    "![<img src=x onerror=alert(1)>](p.png)",
    "[![a](javascript:alert(1))](http://a.example)",
    "<http://a.example/<script>alert(1)</script>>",
    "[x]: javascript:alert(1)\n\n[x]",
    "```<script>alert(1)</script>\nx\n```",
    "```\n</code></pre><script>alert(1)</script>\n```",
    "`</code><script>alert(1)</script>`",
    "$\\text{<img src=x onerror=alert(1)>}$",
    "$\\text{&lt;img src=x onerror=alert(1)&gt;}$",
    "$\\text{&#60;script&#62;alert(1)&#60;/script&#62;}$",
    "$\\href{javascript:alert(1)}{x}$",
    "$\\href{http://a.example}{x}$",
    "$\\class{x\" onclick=\"alert(1)}{y}$",
    "$\\style{background:url(http://a.example)}{y}$",
    "$\\color{red\" onclick=\"alert(1)}{y}$",
    "$\\id{x\"><script>alert(1)</script>}{y}$",
    "$$</math><script>alert(1)</script>$$",
    "$<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>$",
    "\\(</math><img src=x onerror=alert(1)>\\)",
    "\\[\\mathrm{<svg/onload=alert(1)>}\\]",
    "<math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    "<math href='javascript:alert(1)'>x</math>",
    "<math><maction actiontype='statusline#http://a.example' xlink:href='javascript:alert(1)'>x</maction></math>",
    "<style>@import 'http://a.example/x.css';</style>",
    "<link rel=stylesheet href=http://a.example>",
    "<meta http-equiv=refresh content='0;url=http://a.example'>",
    "<base href='http://a.example/'>",
    "<form action=http://a.example><button>x</button></form>",
    "<object data=http://a.example></object><embed src=http://a.example>",
    "<video src=http://a.example autoplay></video>",
    "<div style='background:url(http://a.example)'>x</div>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<!--<img src=\"--><img src=x onerror=alert(1)//\">",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<x onclick=alert(1)>|<x>\n-|-\n<script>alert(1)</script>|2",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u2028<script>alert(1)</script>\0<script>",
)  # fmt: skip


class _Found(html.parser.HTMLParser):
    """Every element and attribute of some HTML."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_comment(self, data):
        self.elements.append(("!comment", {}))

    def handle_decl(self, decl):
        self.elements.append(("!declaration", {}))


def assert_harmless(shown):
    for tag, attributes in _Found(shown).elements:
        assert tag in {*_HTML, *_MATHML}, tag
        assert attributes.keys() <= _ATTRIBUTES.get(tag, set()), (tag, attributes)
        assert not any("url" in (value or "") or ":" in (value or "") for value in attributes.values())


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_runs_and_nothing_is_loaded(text):
    assert_harmless(render(text))


@given(
    st.one_of(
        st.text(), st.lists(st.sampled_from([*ATTACKS, "$", "\\(", "`", "\n", "> ", "|", "\\", "<", "&"])).map("".join)
    )
)
def test_whatever_is_written(text):
    shown = render(text)
    assert_harmless(shown)
    assert (
        nh3.clean(shown, tags={*_HTML, *_MATHML}, attributes=_ATTRIBUTES, link_rel=None) == shown
    )  # nothing left to clean


def test_markdown():
    assert render("**a** *b* `c`") == "<p><strong>a</strong> <em>b</em> <code>c</code></p>\n"
    assert render("1. x\n2. y") == "<ol>\n<li>x</li>\n<li>y</li>\n</ol>\n"
    assert "<th>a</th>" in render("|a|b|\n|-|-|\n|1|2|")
    assert render("see [this](http://a.example)") == "<p>see [this](http://a.example)</p>\n"
    assert render("![a cat](cat.png)") == "<p>![a cat](cat.png)</p>\n"


def test_nothing_of_the_text_disappears():
    assert "red" in render("[1]: red")
    assert "deep" in render("> " * 60 + "deep")
    assert render("a < b & c > d") == "<p>a &lt; b &amp; c &gt; d</p>\n"


def test_formulas():
    assert render("$x^2$") == '<p><math display="inline"><mrow><msup><mi>x</mi><mn>2</mn></msup></mrow></math></p>\n'
    assert render(r"so \(x\).").startswith('<p>so <math display="inline"><mrow><mi>x</mi>')
    assert '<math display="block">' in render("\\[ x \\]") and '<math display="block">' in render("$$\nx\n$$")
    assert "<mo>≤</mo>" in render(r"$a \le b$")
    assert "<mtable>" in render("$$\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}$$")
    assert render("it costs $5 or $7") == "<p>it costs $5 or $7</p>\n"


def test_a_formula_that_cannot_be_read_is_shown_as_written():
    assert render("$\\frac{$") == '<p><span class="source">\\frac{</span></p>\n'
    assert math_of("{" * 150 + "x" + "}" * 150, display=False) is None
    assert math_of("x" * 5000, display=False) is None
    many = render("$a$ " * 300)
    assert many.count("<math") == 200 and many.count('class="source"') == 100


@pytest.mark.parametrize(
    "part",
    [
        "[",
        "*a_",
        "`a``",
        "> ",
        "![",
        "$a",
        "\\(",
        "\\[a\n",
        "[a](b",
        "**a ",
        "1. a\n",
        "|a",
        "$x'$ ",
        "<",
        "\\",
        "~~a ",
    ],
)
def test_a_text_made_to_be_slow_is_not(part):
    started = time.process_time()
    render(part * (2 * LONGEST // len(part)))
    assert time.process_time() - started < 2
