"""Whether a short English answer can be an answer to its question at all.

Three kinds of question say by their first words what an answer looks like:

- yes/no (``is there``, ``does he``, ``can you see`` …, without ``or``): the answer has yes, no, or the like
- number (``how many``, ``what number``, ``number of``): the answer has a digit, a number word, or ``none``, ``many`` …
- colour (``what colour``, ``which color``): the answer has the name of a colour, ``clear``, ``striped`` …

Other questions, and answers of more than five words (a whole sentence can say yes without the word), are not judged.
An answer that declines (``unanswerable``, ``unknown``, ``not sure``) fits every question.
"""

from __future__ import annotations

import re

_LONGEST = 5
_QUOTES = re.compile(r"['’`]")
_WORD = re.compile(r"[a-z]+|\d+")

_YES_NO = re.compile(
    r"""(?:so\ |and\ |but\ |now\ )?
    (?:is|are|was|were|am|do|does|did|can|could|will|would|should|has|have|had|may|might|must|
       isnt|arent|wasnt|werent|dont|doesnt|didnt|cant|couldnt|wont|wouldnt|shouldnt|hasnt|havent)\ """,
    re.VERBOSE,
)
_NUMBER = re.compile(r"(?:about |approximately |roughly )?(?:how many|what number of|what is the number of)\b")
_COLOUR = re.compile(r"(?:what|which) (?:is the |are the )?colou?rs?\b")
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
    asked = _QUOTES.sub("", question.casefold()).strip()
    wanted = _wanted(asked)
    if wanted is None:
        return None
    words = _WORD.findall(_QUOTES.sub("", answer.casefold()))
    if not words or len(words) > _LONGEST:
        return False
    said = " ".join(words)
    return not wanted.search(said) and not _DECLINED.search(said)


def _wanted(asked: str) -> re.Pattern[str] | None:
    if _NUMBER.match(asked):
        return _QUANTITY
    if _COLOUR.match(asked):
        return _HUES
    if _YES_NO.match(asked) and not _PICK.search(asked) and not _POLITE.match(asked):
        return _AFFIRMATIVE
    return None
