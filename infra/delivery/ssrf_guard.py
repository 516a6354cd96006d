"""Guard of the addresses that deliveries may reach: nothing private, however it is named.

Checked when an endpoint is registered and again at every dial, on the concrete address, so
that neither a redirect of DNS nor an address in another notation gets past
(docs/adr; reference: OWASP SSRF prevention).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
SocketFactory = Callable[[tuple[Any, ...]], socket.socket]

BLOCKED_ERRNO = 0x5353
"""Tells our refusal from the system's errors, through whatever wraps it on its way up."""
RESOLVE_SECONDS = 5
MAX_URL = 2000
WEB_PORTS = frozenset({80, 443})
FIRST_FREE_PORT = 1024
KEPT_URLS = 1000
"""Taken apart once: deliveries go to the same ones again and again."""

# ``is_global`` is not a policy: Python calls these global, yet they lead (or may lead) inside.
_DENIED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "::/8", "64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/23", "100::/64",
        "fec0::/10", "3fff::/20", "5f00::/16", "192.0.0.0/24", "192.88.99.0/24",
    )
)  # fmt: skip


class BlockedTargetError(OSError):
    """The address is not one that deliveries may reach; the text does not name it."""

    def __init__(self) -> None:
        super().__init__(BLOCKED_ERRNO, "blocked target")


class UnsafeUrlError(ValueError):
    """A URL that we do not deliver to; the text says why, and quotes nothing of it."""


def parse_networks(text: str) -> tuple[Network, ...]:
    """Comma-separated CIDRs; raises ``ValueError`` for anything else."""
    return tuple(ipaddress.ip_network(item.strip()) for item in text.split(",") if item.strip())


@dataclass(frozen=True)
class Guard:
    """The policy, with the networks that this installation opens (none by default)."""

    allowed_networks: tuple[Network, ...] = ()

    def opened(self, address: Address) -> bool:
        """Return whether the address lies in a network that was opened on purpose."""
        plain = unmapped(address)
        return any(plain.version == n.version and plain in n for n in self.allowed_networks)

    def allows(self, address: Address) -> bool:
        """Return whether deliveries may reach the address."""
        plain = unmapped(address)
        if self.opened(plain):
            return True
        denied = any(plain.version == n.version and plain in n for n in _DENIED)
        return plain.is_global and not plain.is_multicast and not denied

    def reaches(self, info: tuple[Any, ...]) -> bool:
        """Return whether deliveries may reach an address as ``getaddrinfo`` gives it."""
        return all(self.allows(address) for address in _addresses([info]))

    def dial(self, info: tuple[Any, ...]) -> socket.socket:
        """Open a socket for one address, for ``https`` (aiohttp's ``socket_factory``)."""
        return _socket(info, self.allows)

    def dial_plain(self, info: tuple[Any, ...]) -> socket.socket:
        """Open a socket for one address, for ``http``: only to networks opened on purpose."""
        return _socket(info, self.opened)

    async def check_host(self, host: str, port: int) -> None:
        """Raise ``UnsafeUrlError`` unless a host may be reached, as it resolves today."""
        if not all(self.allows(address) for address in await _resolve(host, port)):
            raise UnsafeUrlError("the address is not one that deliveries may reach")

    async def check(self, url: str) -> None:
        """Raise ``UnsafeUrlError`` unless deliveries may go to a URL, as it resolves today."""
        parts = parse_url(url)
        addresses = await _resolve(str(parts.hostname), parts.port or 443)
        if all(self.opened(address) for address in addresses):
            return
        if not all(self.allows(address) for address in addresses):
            raise UnsafeUrlError("the address is not one that deliveries may reach")
        if parts.scheme != "https":
            raise UnsafeUrlError("use https")
        port = parts.port or 443
        if port < FIRST_FREE_PORT and port not in WEB_PORTS:
            raise UnsafeUrlError("the port is not one for web services")


def unmapped(address: Address) -> Address:
    """The IPv4 address inside ``::ffff:a.b.c.d``; any other address as it is."""
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped if mapped is not None else address


def split_url(url: str) -> SplitResult:
    """The parts of a URL of any scheme, all of them readable; raises ``UnsafeUrlError``."""
    if len(url) > MAX_URL or not url.isascii() or any(c <= " " or c == "\\" for c in url):
        raise UnsafeUrlError("the URL is malformed, or not in ASCII")
    try:
        parts = urlsplit(url)
        _ = parts.hostname, parts.port
    except ValueError as error:
        raise UnsafeUrlError("the URL is malformed") from error
    if not unquote(url).isprintable():
        raise UnsafeUrlError("the URL holds control characters")
    return parts


@lru_cache(KEPT_URLS)
def parse_url(url: str) -> SplitResult:
    """The parts of an http(s) URL; raises ``UnsafeUrlError`` for what we never deliver to."""
    parts = split_url(url)
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise UnsafeUrlError("give an absolute https URL")
    if "@" in parts.netloc:
        raise UnsafeUrlError("a URL must not hold a user name or password")
    if parts.fragment:
        raise UnsafeUrlError("a URL must not hold a fragment")
    return parts


async def _resolve(host: str, port: int) -> list[Address]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise UnsafeUrlError("the host name cannot be resolved") from error
    return list(_addresses(infos))


def _addresses(infos: Iterable[tuple[Any, ...]]) -> Iterable[Address]:
    for info in infos:
        yield ipaddress.ip_address(str(info[4][0]).partition("%")[0])


def _socket(info: tuple[Any, ...], permitted: Callable[[Address], bool]) -> socket.socket:
    family, kind, protocol, _, _ = info
    (address,) = _addresses([info])
    if not permitted(address):
        raise BlockedTargetError
    return socket.socket(family, kind, protocol)
