"""Sources of CloudEvents, compared as RFC 3986 §6.2.2 and §6.2.3 say, never as they are spelt.

``HTTPS://Ville.example:443/a/../b`` is ``https://ville.example/b``: it comes from there, and
not from whatever stands below ``/a``.
"""

import re
import unicodedata
from urllib.parse import quote

_PARTS = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#(.*))?", re.S)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]")
_PORTS = {"http": "80", "https": "443"}


def normal_source(source: str) -> str:
    """Return a source in one spelling: case, escapes, dot segments, port, empty path."""
    text = quote(unicodedata.normalize("NFC", source), safe=_ASCII, errors="replace")
    matched = _PARTS.fullmatch(_ESCAPE.sub(_unescaped, text))
    assert matched is not None  # every text has these parts, if empty ones
    scheme, authority, path, query, fragment = matched.groups()
    scheme = scheme.lower() if scheme else None
    path = _without_dots(path)
    if scheme == "urn":
        name, colon, rest = path.partition(":")
        path = name.lower() + colon + rest
    if authority is not None:
        authority = _authority(authority, scheme)
        if scheme in _PORTS:
            path = path or "/"
    return "".join(
        [
            f"{scheme}:" if scheme else "",
            f"//{authority}" if authority is not None else "",
            path,
            f"?{query}" if query is not None else "",
            f"#{fragment}" if fragment is not None else "",
        ]
    )


def covers(allowed: str, source: str) -> bool:
    """Return whether a source is allowed: itself, below ``prefix/*``, or any (``*``)."""
    if allowed == "*":
        return True
    if allowed.endswith("/*"):
        return normal_source(source).startswith(normal_source(allowed[:-1]))
    return normal_source(source) == normal_source(allowed)


def _unescaped(escape: re.Match[str]) -> str:
    character = chr(int(escape[1], 16))
    return character if _UNRESERVED.fullmatch(character) else escape[0].upper()


def _authority(text: str, scheme: str | None) -> str:
    user, at, host = text.rpartition("@")
    name, colon, port = host.rpartition(":")
    if not colon or not (port.isdigit() or not port):
        name, port = host, ""
    port = "" if port == _PORTS.get(scheme or "") else port
    return user + at + name.lower() + (f":{port}" if port else "")


def _without_dots(path: str) -> str:
    """RFC 3986 §5.2.4, by segments."""
    rooted, kept = path.startswith("/"), list[str]()
    segments = path.removeprefix("/").split("/")
    for segment in segments:
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    if segments[-1] in (".", "..") and kept:
        kept.append("")
    return ("/" if rooted else "") + "/".join(kept)
