"""Who may start runs: only people on this machine, or those whom a trusted proxy names, and only if it was allowed."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from dashboards.people import person
from dashboards.settings import LOCAL_HOSTS, is_shared, runs_allowed, user_header
from winnow.errors import UserError

_FORWARDING = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


@dataclass(frozen=True)
class Visitor:
    """Who asks.

    Attributes:
        name: as shown beside a job.
        place: ``here``: in a browser on the server's own machine; ``named``: elsewhere, named by the trusted header;
            ``unknown``: neither.
    """

    name: str
    place: Literal["here", "named", "unknown"]


def visitor_of(headers: Mapping[str, str], cookies: Mapping[str, str], address: str | None) -> Visitor:
    """Who sends a request.

    Args:
        address: of the other end; None is this machine, as Streamlit has it.
    """
    who = person(headers, cookies)
    if who.is_trusted:  # then there is a proxy, and everybody comes from this machine
        return Visitor(who.name, "named" if who.name else "unknown")
    return Visitor(who.name, "here" if is_local(headers, address) else "unknown")


def is_local(headers: Mapping[str, str], address: str | None) -> bool:
    """Whether a connection comes from a browser on this machine, as far as the connection can tell.

    Args:
        headers: of the request, names in any case.
        address: as for ``visitor_of``.
    """
    sent = {name.lower(): value for name, value in headers.items()}
    if is_shared() or any(name in sent for name in _FORWARDING) or not _is_loopback(address):
        return False
    called = urlsplit(f"//{sent.get('host', '')}").hostname
    origin = urlsplit(sent.get("origin", "")).hostname
    # A proxy that adds no header still passes on the name by which the browser called it.
    return called in LOCAL_HOSTS and origin in (None, *LOCAL_HOSTS)


def _is_loopback(address: str | None) -> bool:
    try:
        return address is None or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def refusal(visitor: Visitor) -> str:
    """Why this visitor may not start or stop runs, and what to do about it; '' if they may."""
    if os.name != "posix":
        return "This page is read-only: runs are started from it on Linux and macOS only; use the commands."
    if not runs_allowed():
        return "This page is read-only: start the dashboards with --allow-runs to start runs from it."
    if visitor.place != "unknown":
        return ""
    if user_header():
        return f"This page is read-only for you: the proxy did not name you in the header {user_header()}."
    return (
        "This page is read-only for you: runs may be started in a browser on the server's own machine, from a server"
        " that listens on 127.0.0.1, or by those whom a log-in proxy names (--user-header)."
    )


def check_allowed(visitor: Visitor) -> None:
    """Refuse a visitor who may not start or stop runs.

    Raises:
        UserError: with the reason.
    """
    if reason := refusal(visitor):
        raise UserError(reason)
