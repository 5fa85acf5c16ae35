"""Images that a row names but that cannot be had: written in place of a path as ``<class>:<what>``.

The row keeps its id, question and answers; ``preflight.locate`` turns the notation into the row's class,
so that rules, ledger and card treat it like a file that is missing.
"""

from __future__ import annotations

# Class → what it means. Those of remote images begin with `remote_`.
CLASSES: dict[str, str] = {
    "bad_base64": "the image is given as base64 text that cannot be decoded",
    "too_large_bytes": "more bytes than the cap; not read",
    "remote_off": "the image is a URL; `remote: {}` in the recipe fetches such images",
    "remote_bad_url": "not a URL that can be fetched",
    "remote_private": "the address is private, loopback or link-local; `remote: {allow_private: true}` allows it",
    "remote_404": "the server says it is not there, or no longer (404, 410)",
    "remote_denied": "the server does not hand it out (401, 402, 403, 407, 451)",
    "remote_http": "the server answers with a status that is no image and not worth a retry",
    "remote_redirects": "redirects in a loop, or too many of them",
    "remote_not_an_image": "what the server sends is no image, whatever it is called",
    "remote_too_large": "more bytes or pixels than the cap",
    "remote_unavailable": "no whole answer in any attempt; the next run tries again",
}
_PROTOCOLS = ("http://", "https://")


def is_url(path: str) -> bool:
    """Whether an image field holds a web address."""
    return path[:8].lower().startswith(_PROTOCOLS)


def unavailable(kind: str, what: str) -> str:
    """The notation for an image of class ``kind``; ``what`` is its URL or name."""
    return f"{kind}:{what}"


def unavailable_class(path: str) -> tuple[str, str] | None:
    """Class and detail if ``path`` is in this notation or a URL that nobody fetched, else None."""
    if is_url(path):
        return "remote_off", CLASSES["remote_off"]
    kind, colon, what = path.partition(":")
    return (kind, what) if colon and kind in CLASSES else None
