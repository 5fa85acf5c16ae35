"""Personal data in a text: kinds that a pattern, and where there is one a check digit, can tell.

Each kind is one regular expression on plain text; nothing is looked up. Digits before and after a match are not part of
it, so that no piece of a longer number counts.

- ``email``: RFC 5321's common form, with a top-level domain of letters
- ``phone``: ``+`` and 8–15 digits (ITU-T E.164); or 7–15 digits in groups after a word that announces them
  (``tel``, ``phone``, ``mobile``, ``fax`` …); or North American ``(212) 555-0147`` and ``212-555-0147``. National
  numbers of other countries without such a word are not told from other numbers.
- ``iban``: country, check digits and 11–30 signs whose remainder modulo 97 is 1 (ISO 13616)
- ``card``: 14–19 digits of a card network's range that pass Luhn's check (ISO/IEC 7812)
- ``ip``: four numbers of 0–255 that are no version (``v1.2.3.4``); or IPv6 with eight groups, or ``::`` between groups
- ``ssn``: US social security number with hyphens, without the ranges that are never issued
- ``credentials``: a URL with name and password
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import pyarrow as pa

from curate.signals.base import Signal
from curate.signals.memo import Remembered

_EMAIL = re.compile(
    r"(?<![\w.+-])[A-Za-z0-9](?:[A-Za-z0-9._%+-]{0,62}[A-Za-z0-9_])?@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"
)
_PHONE = re.compile(
    r"""(?<![\w.+-])\+[1-9](?:[ ().-]{0,3}\d){7,14}(?!\d)
      | \b(?:tele?phone|telefon|tel[eé]fono|t[ée]l[ée]phone|telp|tel|phone|mobile|cell|fax|whatsapps?|hotline|handphone
        |call)\b(?:\s?(?:no|number|us|at|me|on|under)\b){0,2}[\s.:#=]{0,4}\(?\+?\d(?:[ ().-]{0,3}\d){6,14}(?![\d.,]?\d)
      | (?<![\w.+-])(?:\([2-9]\d\d\)\ ?|[2-9]\d\d[-.])[2-9]\d\d[-.]\d{4}(?![\d-])""",
    re.IGNORECASE | re.VERBOSE,
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])")
_CARD = re.compile(r"(?<![\w.+-])(?:4\d|5[1-5]|2[2-7]|3[04-9]|6(?=011|4|5|2)\d)(?:[ -]?\d){12,17}(?![\d.,-]?\d)")
_IPV4 = re.compile(r"(?<![\w.+-])(?:\d{1,3}\.){3}\d{1,3}(?![\d.-]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9A-Fa-f]{1,4}:|:){2,7}(?::|[0-9A-Fa-f]{1,4})(?![\w:]|\.\w)")
_SSN = re.compile(r"(?<![\w.+-])(?!000|666|9)\d{3}-(?!00)\d\d-(?!0000)\d{4}(?![\w-])")
_CREDENTIALS = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://[^\s/:@]{1,128}:[^\s/@]{1,128}@[\w.-]+", re.IGNORECASE)
_IBAN_COUNTRIES = (
    "AD AE AL AT AZ BA BE BG BH BI BR BY CH CR CY CZ DE DJ DK DO EE EG ES FI FK FO FR GB GE GI GL GR GT HN HR HU IE IL"
    " IQ IS IT JO KW KZ LB LC LI LT LU LV LY MC MD ME MK MN MR MT MU NI NL NO OM PK PL PS PT QA RO RS RU SA SC SD SE SI"
    " SK SM SO ST SV TL TN TR UA VA VG XK YE"
)
_DIGITS = re.compile(r"\d")
KINDS = ("email", "phone", "iban", "card", "ip", "ssn", "credentials")


def kinds_of(text: str) -> frozenset[str]:
    """The kinds of personal data in a text."""
    return _KNOWN[text]


def _kinds_of(text: str) -> frozenset[str]:
    return frozenset(kind for kind, _, _ in places_of(text))


def places_of(text: str) -> list[tuple[str, int, int]]:
    """Kind, start and end of each piece of personal data in a text; pieces of different kinds may overlap."""
    found: list[tuple[str, int, int]] = []
    if "@" in text:
        logins = list(_CREDENTIALS.finditer(text)) if "://" in text else []
        found += [("credentials", *hit.span()) for hit in logins]
        rest = _CREDENTIALS.sub(lambda hit: " " * len(hit[0]), text) if logins else text
        found += [("email", *hit.span()) for hit in _EMAIL.finditer(rest)]
    if "::" in text or text.count(":") > 6:
        found += [("ip", *hit.span()) for hit in _IPV6.finditer(text) if _is_ip(hit[0])]
    if _digits(text) < 4:  # no other kind has fewer
        return found
    found += [("ip", *hit.span()) for hit in _IPV4.finditer(text) if _is_ip(hit[0])]
    found += [("phone", *hit.span()) for hit in _PHONE.finditer(text)]
    found += [("ssn", *hit.span()) for hit in _SSN.finditer(text)]
    found += [("iban", *hit.span()) for hit in _IBAN.finditer(text) if _is_iban(hit[0])]
    return found + [("card", *hit.span()) for hit in _CARD.finditer(text) if _is_card(hit[0])]


def _digits(text: str) -> int:
    if not text.isascii():
        return len(_DIGITS.findall(text))
    return len(text) - len(text.encode().translate(None, b"0123456789"))


_KNOWN: Remembered[frozenset[str]] = Remembered(_kinds_of)


def personal_data(texts: Iterable[str]) -> str | None:
    """The kinds in all texts of a row, in the order of ``KINDS``, joined by commas; None without any."""
    found: frozenset[str] = frozenset().union(*map(_KNOWN.__getitem__, texts))
    return ",".join(kind for kind in KINDS if kind in found) or None


def _is_ip(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not address.is_unspecified


def _is_iban(text: str) -> bool:
    plain = text.replace(" ", "")
    turned = plain[4:] + plain[:4]
    return (
        plain[:2] in _IBAN_COUNTRIES.split()
        and 15 <= len(plain) <= 34
        and int("".join(str(int(sign, 36)) for sign in turned)) % 97 == 1
    )


def _is_card(text: str) -> bool:
    digits = [int(sign) for sign in text if sign.isdigit()]
    doubled = [digit * 2 - 9 * (digit > 4) for digit in digits[-2::-2]]
    return len(set(digits)) > 1 and (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


SIGNALS = (
    Signal(
        "pii",
        1,
        {
            "pii": "kinds of personal data in the turns and references, joined by commas: email, phone, iban, card, ip,"
            " ssn, credentials; else null. By patterns and check digits, see curate.signals.pii: names and addresses"
            " of people are not found"
        },
        types={"pii": pa.string()},
    ),
)
