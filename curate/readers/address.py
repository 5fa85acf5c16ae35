"""Which network addresses a URL of a dataset may lead to.

The check is made on the address that the socket is about to connect to, for every connection of every redirect: a name
that resolves differently the second time (DNS rebinding) gains nothing.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Mapping
from typing import Any

REFUSED = "is not a public address"
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an IP address is neither private, loopback, link-local, multicast, reserved nor a way around that.

    IPv4 addresses inside IPv6 ones (mapped, 6to4, Teredo, NAT64) are judged by themselves.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if found in _NAT64:
            return is_public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        inner = [found.sixtofour, *(found.teredo or ())]
        if found.is_site_local or not all(is_public(str(ipv4)) for ipv4 in inner if ipv4 is not None):
            return False
    return found.is_global and not (found.is_multicast or found.is_reserved or found.is_unspecified)


def checked_socket(about: Any) -> socket.socket:
    """A socket for ``(family, type, protocol, _, address)``.

    Raises:
        OSError: the address is not public; the text holds ``REFUSED``.
    """
    family, kind, protocol, _, address = about
    if family not in (socket.AF_INET, socket.AF_INET6) or not is_public(str(address[0])):
        raise OSError(errno.EACCES, f"{address[0]} {REFUSED}")
    return socket.socket(family, kind, protocol)


def mirrored(url: str, mirror: Mapping[str, str]) -> str:
    """The URL with the longest prefix that ``mirror`` names replaced; one named '' is put before every URL."""
    fitting = [prefix for prefix in mirror if url.startswith(prefix)]
    if not fitting:
        return url
    prefix = max(fitting, key=len)
    return mirror[prefix] + url.removeprefix(prefix)
