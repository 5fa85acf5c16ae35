"""Who reviews: the name that a trusted proxy gives, else the one typed, which the browser keeps in a cookie.

Nobody checks a typed name: it says whose decision a line is, and keeps no one out.
"""

from __future__ import annotations

import contextlib
import getpass
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from dashboards.settings import is_shared, user_header

COOKIE = "winnow_reviewer"
LONGEST_NAME = 80  # characters
_JOINERS = "\u200c\u200d"  # seen by what they do to the letters beside them
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


@dataclass(frozen=True)
class Person:
    """Who sends a request.

    Attributes:
        name: '' where nobody is named yet.
        is_trusted: the name comes from the trusted header; it cannot be typed.
    """

    name: str
    is_trusted: bool


def person(headers: Mapping[str, str], cookies: Mapping[str, str]) -> Person:
    """Who sends a request with these headers (names in any case) and cookies.

    Without a trusted header and without a cookie it is the user who runs the server, if the request comes
    straight from this machine; somebody behind a proxy or on another machine has no name yet.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    if trusted := user_header():
        return Person(_trusted_name(headers, trusted), is_trusted=True)
    if named := plain_name(unquote(cookies.get(COOKIE, ""))):
        return Person(named, is_trusted=False)
    is_direct = not is_shared() and not any(name in sent for name in _FORWARDED)
    return Person(_system_name() if is_direct else "", is_trusted=False)


def plain_name(name: str) -> str:
    """A name as it is written into decisions: one line, no blanks around it, at most ``LONGEST_NAME`` characters.

    Characters that nobody sees are left out: two names that look alike would be two people.
    """
    return " ".join("".join(letter for letter in name if not _is_unseen(letter)).split())[:LONGEST_NAME]


def _is_unseen(letter: str) -> bool:
    """Control characters, signs that turn the direction of writing, halves of characters."""
    return unicodedata.category(letter).startswith("C") and letter not in _JOINERS and not letter.isspace()


def _trusted_name(headers: Mapping[str, str], header: str) -> str:
    """The name that the proxy gives; '' for none, for two, and for one that is not written into decisions as it is.

    Such a name would otherwise become that of somebody else.
    """
    every = getattr(headers, "getlist", None) or getattr(headers, "get_all", None)
    given = every(header) if every else [value for name, value in headers.items() if name.lower() == header.lower()]
    if len(given) != 1:
        return ""
    name = given[0]
    with contextlib.suppress(UnicodeError):  # servers read headers as Latin-1, proxies write UTF-8
        name = name.encode("latin-1").decode("utf-8")
    name = " ".join(name.split())
    return name if name == plain_name(name) else ""


def _system_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return ""
