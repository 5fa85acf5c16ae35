"""The views of a text that rules look at: as it is read, with look-alikes undone, and with encodings unfolded.

``plain`` undoes what Unicode allows without a change of meaning (NFKC, letter case, marks, characters that nobody
sees). ``folded`` also undoes what only imitates letters (homoglyphs, leet, spaced-out words). ``unfolded`` decodes
base64, hexadecimal, percent signs, HTML and string escapes, ROT13 and reversed text, within bounds. None of them is
what is forwarded: that is ``cleaned``, which takes out only what has no place in a prompt.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import functools
import html
import re
import sys
import unicodedata
import urllib.parse
from collections.abc import Iterator

LONGEST_VIEW = 100_000  # characters; NFKC may make 18 of one
_MOST_DECODED, _DEEPEST = 24, 2  # pieces of a text, and decodings of a decoding

# Single letters that Unicode's confusables.txt (Unicode License v3; through confusable-homoglyphs 3.3.1) takes for a
# Latin letter after NFKC and without marks; with small capitals and a few more that are used so. Where one looks like
# two letters, the one that is written with it more often.
_CONFUSABLE = {
    "a": "ɑαаᎪᗅꓮ𐊠𖽀ᴀⱥ",
    "b": "ƅβвьᏏᏴᑲᖯᗷꓐꞵ𐊂𐊡𐌁ʙ",
    "c": "сᏟᴄⲥꓚ𐊢𐌂𐐽𐔜ᑕ",
    "d": "ԁᎠᏧᑯᗞᗪꓒꓓᴅđ",
    "e": "εеҽᎬⴹꓰꬲ𐊆𑣆𑣎ᴇэє",
    "f": "ϝքᖴẝꓝꞙꬵ𐊇𐊥𐔥𑣂ꜰ",
    "g": "ƍɡԍցᏀᏳᶃꓖɢ",
    "h": "ηнһհᎻᏂᕼⲏꓧ𐋏ʜħ",
    "i": "ıɩɪιіᎥꙇ𑣃",
    "j": "ʝϳјᎫᒍꓙᴊ",
    "k": "κкᏦᛕⲕꓗ𐔘ᴋ",
    "l": "ǀӏᏞᒪᛁⲓⳑⵏꓡꓲ𐊊𐌉𐑃𐔦𑣒𖼖𖼨ʟł",
    "m": "μϻмᎷᗰᛖⲙꓟ𐊰𐌑ᴍ",
    "n": "ոռⲛꓠ𐔓ɴпи",
    "o": "οσоօଠഠဝჿዐᴏᴑⲟⵔꓳꬽ𐊒𐊫𐐬𐓪𐔖𑣈𑣕𑣗ø",
    "p": "ρрᏢᑭⲣꓑ𐊕ᴘ",
    "q": "ԛգզⵕǫ",
    "r": "ʀгᎡᎱᏒᖇᴦⲅꓣꭇꭈ𐓜𖼵я",
    "s": "ƽѕտᏕᏚꓢꜱ𐊖𐑈𑣁𖼺",
    "t": "τтᎢⲧꓔ𐊗𐊱𐌕𖼊ŧ",
    "u": "ʋυսሀᑌᴜꓴꞟꭎꭒ𐓶𑣘𖽂",
    "v": "νѵᏙᐯᴠⴸꓦꛟ𐔝𑜆𑣀𖼈",
    "w": "ɯѡԝաᎳᏔᴡꓪ𑜊𑜎𑜏",
    "x": "χхᕁᕽᚷⲭⵝꓫꭓ𐊐𐊴𐌗𐔧",
    "y": "ɣʏγуүყᎩᎽᶌỿⲩꓬꭚ𐊲𑣄𑣜𖽃",
    "z": "ζᏃᴢꓜ𑣉",
}
_ENCLOSED = {
    **{0x1F130 + at: chr(97 + at) for at in range(26)},
    **{0x1F150 + at: chr(97 + at) for at in range(26)},
    **{0x1F170 + at: chr(97 + at) for at in range(26)},
    **{0x1F1E6 + at: chr(97 + at) for at in range(26)},
}
_LATIN = {ord(sign): letter for letter, signs in _CONFUSABLE.items() for sign in signs} | _ENCLOSED
_LEET = str.maketrans("013457@$!|", "oieastasil")
_LEET_WORD = re.compile(r"[\w@$!|]{2,64}")
_SPACED = re.compile(r"(?<!\w)\w(?:([ ._*~/|\\-])\1{0,2}\w){2,}(?!\w)")
_SPACES = re.compile(r"[^\S\n]+")
_FILLERS = "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u2800\u3164\uffa0"  # shown as nothing, yet no format
_TAGS = range(0xE0000, 0xE0080)
_ANY_TAG = re.compile("[\U000e0020-\U000e007e]{4,}")


# Letters whose strokes and forms are no marks that Unicode takes off.
_STROKED = str.maketrans("đłøıħŧє", "dloihtе")


@functools.cache
def unseen() -> dict[int, None]:
    """Characters that nobody sees: formats, variation selectors, tags and fillers."""
    selectors = [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]
    formats = (code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) == "Cf")
    return dict.fromkeys([*formats, *selectors, *map(ord, _FILLERS)])


def plain(text: str) -> str:
    """NFKC without marks and unseen characters, in lower case; controls but line breaks are spaces.

    A pattern that is made plain too finds what it means in every spelling of a word.
    """
    text = text[:LONGEST_VIEW]
    if not text.isascii():
        shown = unicodedata.normalize("NFKD", text.translate(unseen()))[:LONGEST_VIEW]
        bare = "".join(sign for sign in shown if sign not in _FILLERS and unicodedata.category(sign)[0] != "M")
        text = unicodedata.normalize("NFC", bare).casefold().translate(_STROKED)
    text = "".join(sign if sign.isprintable() or sign == "\n" else " " for sign in text)
    return _SPACES.sub(" ", text.casefold())


def folded(plain_text: str) -> str:
    """A plain text with homoglyphs and leet as Latin letters, and spaced-out words joined."""
    latin = plain_text if plain_text.isascii() else plain_text.translate(_LATIN)
    letters = _LEET_WORD.sub(_without_leet, latin)
    return _SPACED.sub(lambda found: re.sub(r"[^\w]", "", found[0]), letters)


def _without_leet(found: re.Match[str]) -> str:
    """A word with the letters that digits and signs stand for; numbers and words with few letters stay."""
    word = found[0]
    letters = sum(map(str.isalpha, word))
    core = word.rstrip("!|")
    if letters == len(word) or letters < 1 or letters * 3 < len(core) or core.isalpha():
        return word
    return core.translate(_LEET) + word[len(core) :]


_BASE64 = re.compile(r"(?<![\w+/])[A-Za-z0-9+/_-]{16,}(?:\s?[A-Za-z0-9+/_-]{16,}){0,200}={0,2}")
_BASE32 = re.compile(r"(?<!\w)[A-Z2-7]{24,}={0,6}")
_HEX = re.compile(r"(?<![0-9A-Za-z])(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ ,:]?){10,}")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_ESCAPE = re.compile(r"\\u([0-9A-Fa-f]{4})|\\x([0-9A-Fa-f]{2})|\\u\{([0-9A-Fa-f]{1,5})\}")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});")
_CODES = re.compile(r"(?<!\d)(?:\d{2,3}[ ,]{1,2}){9,}\d{2,3}(?!\d)")
_BITS = re.compile(r"(?<!\d)(?:[01]{8} ?){8,}(?!\d)")


def unfolded(text: str) -> list[str]:
    """What is encoded in a text, twice at most; a decoding counts if it reads as text."""
    found: list[str] = []
    layer = [text[:LONGEST_VIEW]]
    for _ in range(_DEEPEST):
        layer = [piece for each in layer for piece in _decoded(each)][:_MOST_DECODED]
        found += layer
    return found[:_MOST_DECODED]


def _decoded(text: str) -> Iterator[str]:
    if "%" in text and len(_PERCENT.findall(text)) > 3:
        yield urllib.parse.unquote(text, errors="replace")
    if "&" in text and _ENTITY.search(text):
        yield html.unescape(text)
    if "\\" in text and _ESCAPE.search(text):
        yield _ESCAPE.sub(lambda hit: _character(int(hit[1] or hit[2] or hit[3], 16)), text)
    if tags := _ANY_TAG.findall(text):
        yield "".join(chr(ord(sign) - 0xE0000) for run in tags for sign in run)
    for pattern, decode in _ALPHABETS:
        pieces = [piece for hit in pattern.findall(text) if (piece := decode(hit)) is not None and _reads(piece)]
        if pieces:  # in one view, so that many harmless ones hide none
            yield " . ".join(pieces)


def mirrored(plain_text: str) -> list[str]:
    """A plain text in ROT13 and from its end, words and letters: rules find nothing in these of other texts."""
    return [codecs.encode(plain_text, "rot13"), plain_text[::-1], " ".join(word[::-1] for word in plain_text.split())]


def _character(code: int) -> str:
    return " " if code > sys.maxunicode or 0xD800 <= code < 0xE000 else chr(code)


def _from_base64(found: str) -> str | None:
    packed = re.sub(r"\s|=", "", found).replace("-", "+").replace("_", "/")
    return _text(base64.b64decode, packed[: len(packed) - (len(packed) % 4 == 1)] + "=" * (-len(packed) % 4))


def _from_base32(found: str) -> str | None:
    packed = found.rstrip("=")
    return _text(base64.b32decode, packed + "=" * (-len(packed) % 8))


def _from_hex(found: str) -> str | None:
    return _text(bytes.fromhex, re.sub(r"0x|\\x|[^0-9A-Fa-f]", "", found))


def _from_codes(found: str) -> str | None:
    return "".join(_character(int(code)) for code in re.findall(r"\d+", found))


def _from_bits(found: str) -> str | None:
    bits = found.replace(" ", "")
    return "".join(chr(int(bits[at : at + 8], 2)) for at in range(0, len(bits), 8))


_ALPHABETS = (
    (_BASE64, _from_base64),
    (_BASE32, _from_base32),
    (_HEX, _from_hex),
    (_CODES, _from_codes),
    (_BITS, _from_bits),
)


def _text(decode: object, packed: str) -> str | None:
    try:
        return bytes(decode(packed)).decode(errors="replace")  # type: ignore[operator]
    except (ValueError, binascii.Error):
        return None


def _reads(text: str) -> bool:
    """Whether a decoding is text: at least eight characters, nine in ten of which are letters, spaces or the like."""
    good = sum((sign.isprintable() or sign.isspace()) and sign != "\ufffd" for sign in text)
    return len(text) >= 8 and good >= 0.95 * len(text) and sum(map(str.isalpha, text)) >= 0.5 * len(text)


_JOINER = "\u200d"
_NON_JOINER = "\u200c"
_HIDING = dict.fromkeys(
    map(ord, "\u00ad\u061c\u180e\u200b\u200e\u200f\u2060\u2061\u2062\u2063\u2064\ufeff\u202a\u202b\u202c\u202d\u202e")
) | dict.fromkeys([*range(0x2066, 0x2070), *range(0xE0100, 0xE01F0), 0xFFF9, 0xFFFA, 0xFFFB])
_CONTROL = dict.fromkeys((*range(9), 11, 12, *range(14, 32), *range(127, 160)))


def cleaned(text: str) -> str:
    """A text without characters that nobody sees and that can hide a text from its reader.

    Joiners stay between letters that they join (Persian, Hindi, emoji); a tag stays in the flag of a region.
    """
    if text.isascii():
        return text if text.isprintable() else text.translate(_CONTROL)
    text = text.translate(_HIDING | _CONTROL)
    if _JOINER in text or _NON_JOINER in text:
        text = "".join(sign for at, sign in enumerate(text) if sign not in (_JOINER, _NON_JOINER) or _joins(text, at))
    return re.sub("(\U0001f3f4[\U000e0061-\U000e007a]{2,6}\U000e007f)|[\U000e0000-\U000e007f]+", r"\1", text)


def _joins(text: str, at: int) -> bool:
    around = text[max(at - 1, 0) : at] + text[at + 1 : at + 2]
    return len(around) == 2 and not any(sign.isascii() or sign in (_JOINER, _NON_JOINER) for sign in around)
