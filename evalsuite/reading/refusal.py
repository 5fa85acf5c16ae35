"""Whether a reply declines to answer.

A refusal has a form: a first person, "cannot" or "will not", and a verb of answering or seeing with what was asked as
its object. Apologies alone are none: signs apologise ("Sorry, we're closed"), shirts and songs say what one cannot do
("I can't believe it's not butter").
"""

from __future__ import annotations

import re

_READ = 2000  # characters; a refusal opens the reply

_APOLOGY = (
    r"(?:(?:i\s?'?\s?a?m\s+(?:very\s+|so\s+|really\s+|truly\s+)?sorry|sorry|(?:i\s+|my\s+|sincere\s+)*apolog(?:ies|i[sz]e)"
    r"|unfortunately|regrettably|i'?m afraid|i am afraid|i understand|thank you|thanks)"
    r"(?:\s+(?:for|about)\s+(?:the|any|that|this)\s+\w+)?(?:\s*[,.;:!–—-]+\s*|\s+)"
    r"(?:but\s+|however,?\s+|that\s+|and\s+)?){0,4}"
)
_AS_AI = (
    r"(?:as\s+an?\s+(?:\w+\s+)?(?:ai|artificial\s+intelligence|(?:large\s+)?language\s+model|text-based|assistant)"
    r"[^,.\n]{0,60},\s*"
    r"|i(?:'m|\s+am)\s+(?:just\s+|only\s+)?an?\s+(?:\w+\s+)?(?:ai|language\s+model|text-based|assistant)\b[^.\n]{0,40}?\s+(?:and|so)"
    r"\s+)?"
)
# No more than an apology in the first person, outside quotes.
_SORRY = re.compile(
    r"i(?:'m|\s+am)\s+(?:very\s+|so\s+|really\s+|truly\s+)?sorry(?:,?\s+but)?[\s.,!…]*|i\s+apologi[sz]e[\s.,!…]*",
    re.IGNORECASE,
)
_ADVERBS = r"(?:\s+(?:currently|directly|really|actually|also|simply|just|reliably|accurately|not|confidently|fully))*"
_CANNOT = (
    r"i(?:\s+(?:really|simply|just|currently))?\s*(?:can\s?not|can'?t|can\s+not|could\s+not|couldn'?t|won'?t|will\s+not"
    r"|(?:am|'m)\s+(?:not\s+(?:able|allowed|permitted|authori[sz]ed|programmed|designed|equipped|comfortable"
    r"|capable|in\s+a\s+position)|unable|incapable)(?:\s+(?:to|of|with))?"
    r"|(?:do\s+not|don'?t)\s+have\s+the\s+(?:ability|capability|capacity|means)\s+to|must\s+decline\s+to"
    r"|(?:have\s+to|need\s+to)\s+decline\s+to|(?:respectfully\s+)?(?:decline|refuse)\s+to)"
)
_ANSWERING = (  # with any object
    r"(?:assist|comply|fulfil+|determine|identify|analy[sz]e|analy[sz]ing|assisting|identifying|providing|provide"
    r"|process|describe|interpret|recogni[sz]e|answer|respond|engage|complete\s+(?:this|that|the|your)"
    r"|diagnose|evaluate|assess|calculate|compute|execute|make\s+(?:a|an|any)\s+(?:determination|decision|judge?ment|assumption"
    r"|identification|guess)|(?:choose|select|show\s+you|give\s+you)\s+(?:an?|the|any)\s+(?:correct\s+)?(?:answer|option|choice)"
    r"|help\s+(?:identify|determine|answer|analy[sz]e)|(?:view|see|read|display|access)\s+(?:or|and)\s+(?:analy[sz]e|identify|interpret)"
    r"|participate|speculate|infer|ascertain|verify|confirm|offer\s+(?:any|an|a)\b)\b"
)
_ASKED = (
    r"(?:(?=images?|photos?|pictures?|videos?|files?)|(?:an?|any|the|this|that|these|those|your|it|what|who|which"
    r"|whether|if|from)\b[^.!?\n]{0,80}\b)(?:images?|photos?|pictures?|videos?|screenshots?|files?|attachments?|figures?|charts?|graphs?|tables?|maps?|diagrams?"
    r"|questions?|requests?|content|information|text|it\s+(?:says|shows)|people|persons?|details)\b"
)
_SEEING = (
    r"(?:see|view|access|open|read|tell|say|make\s+out|give|create|generate|discuss|share|look\s+at|display)\s+"
    rf"(?:you\s+)?{_ASKED}"
)
_HELPING = r"(?:help|support)(?:\s+you)?(?:\s+(?:with|on|in|out)\b|\s*(?:[.,;!]|$|\n))"
_DOING = r"(?:do|continue|proceed)(?:\s+with)?(?:\s+(?:that|this|so))?\s*(?:[.,;!]|$|\n)"
_LACKS = (
    r"i\s*(?:do\s+not|don'?t|can\s?not|can'?t)\s+(?:actually\s+|currently\s+)?(?:have|see|find)\s+"
    r"(?:access|enough|sufficient|an?|any|the)\b[^.!?\n]{0,60}"
    r"\b(?:images?|photos?|pictures?|information|context|access|details|attachments?|capabilit(?:y|ies))\b"
)
_DECLINE = r"i\s+(?:must|have\s+to|need\s+to)\s+(?:respectfully\s+)?decline\b"
_OTHER_LANGUAGES = (
    r"(?:很|非常|十分)?(?:抱歉|对不起|對不起|不好意思)?[\s，,。！!]*(?:但)?我(?:们)?(?:目前|暂时)?(?:无法|無法|不能|没有办法|不会|沒辦法|没办法)"
    r"(?:直接|准确)?(?:识别|辨认|回答|提供|帮|协助|确定|查看|看到|满足|处理|分析|判断|描述|给出|完成)"
    r"|(?:申し訳(?:ありません|ございません)|すみません)[^。\n]{0,80}(?:できません|できかねます|お答え)"
    r"|(?:(?:je\s+suis\s+)?(?:vraiment\s+)?désolée?|malheureusement)?[\s,.]*(?:mais\s+)?je\s+(?:ne\s+peux\s+pas|ne\s+suis\s+pas"
    r"\s+en\s+mesure|suis\s+incapable)(?:\s+(?:de|d'|vous|répondre|aider|identifier|fournir|voir\s+l|déterminer))+"
    r"|(?:lo\s+siento|lamentablemente|desafortunadamente)?[\s,.]*(?:pero\s+)?no\s+(?:puedo|me\s+es\s+posible)\s+"
    r"(?:ayudar|responder|identificar|proporcionar|determinar|ver\s+la\s+imagen|asist|cumplir)\w*"
    r"|(?:(?:es\s+)?tut\s+mir\s+(?:sehr\s+)?leid|leider|entschuldigung)?[\s,.]*(?:aber\s+)?(?:ich\s+kann|kann\s+ich)\b[^.!?\n]{0,80}"
    r"\bnicht\s+(?:\w+\s+)?(?:helfen|beantworten|identifizieren|bestimmen|erkennen|sehen|beschreiben|bereitstellen)"
)
_REFUSAL = re.compile(
    rf"[^\w]*{_APOLOGY}{_AS_AI}{_APOLOGY}(?:{_CANNOT}{_ADVERBS}\s+(?:{_ANSWERING}|{_SEEING}|{_HELPING}|{_DOING})"
    rf"|{_LACKS}|{_DECLINE})|[^\w]*(?:{_OTHER_LANGUAGES})",
    re.IGNORECASE,
)
_OPENS = re.compile(rf"[^\w]*(?:{_APOLOGY}|{_AS_AI})[^\w]*", re.IGNORECASE)
# What surrounds a refusal and answers nothing: offers, appeals, what the assistant is.
_AROUND = re.compile(
    r"[^\w]*(?:please|if\s+you|let\s+me|feel\s+free|is\s+there|how\s+(?:can|may)\s+i|i(?:'m|\s+am|'d|\s+would|\s+can|'ll)\b"
    r"|my\s+(?:guidelines|purpose|training)|as\s+an?\b|would\s+you|could\s+you|can\s+you|you\s+(?:can|may|could)\b"
    r"|(?:it|this|that|doing\s+so)\s+(?:goes|is|would\s+be|may\s+be|violates)\s+(?:against|a\s+violation|inappropriate"
    r"|not\s+appropriate|in\s+violation)|如果|请|您|si\s+vous|si\s+\w+|wenn\s+|bitte|s'il|por\s+favor)",
    re.IGNORECASE,
)
_PARTS = re.compile(r"(?<=[.!?。！？])\s*|\n+|[,;]?\s+(?:but|however|although|though|nevertheless),?\s+", re.IGNORECASE)


def refuses(reply: str) -> bool:
    """Whether a reply opens with a refusal, whatever follows it."""
    text = _plain(reply)
    return (_REFUSAL.match(text) or _SORRY.fullmatch(text)) is not None


def is_refusal(reply: str) -> bool:
    """Whether a reply is a refusal and no more: no part of it answers.

    "I cannot identify the man, but the sign says STOP" answers.
    """
    text = _plain(reply)
    if _SORRY.fullmatch(text):
        return True
    if not _REFUSAL.match(text):
        return False
    return all(
        _REFUSAL.match(part) or _AROUND.match(part) or _OPENS.fullmatch(part + " ")
        for part in _PARTS.split(text)
        if part and any(map(str.isalnum, part))
    )


def _plain(reply: str) -> str:
    return reply[:_READ].replace("’", "'").replace("*", "").strip()
