"""Master keys behind the transit engine of HashiCorp Vault or OpenBao, over HTTPS.

The engine holds a key that never leaves it. An epoch's master key is a data key, wrapped by the
engine; its wrapped form stands in the vault's database. A new epoch rotates the engine's key
first; destroying an epoch trims the version that wrapped it, so that nobody unwraps it again.
"""

import asyncio
import base64
import re
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson

from infra.keys.master_key import KEY_BYTES, KeyUnavailableError

MAX_ANSWER_BYTES = 64 * 1024
WRAPPED = re.compile(rb"vault:v([1-9][0-9]{0,8}):[A-Za-z0-9+/=]+")
REASONS = {
    403: "the token is refused",
    404: "nothing is mounted there",
    429: "too many requests",
    503: "it is sealed, or down for maintenance",
}
NOT_FOUND, TOO_OLD = "not found", "too old"  # of its sentences, what we go by


@dataclass(frozen=True, slots=True)
class Transit:
    """Where the engine is, and how it knows us. The token's file is read at each call: an agent
    may renew it. Plain HTTP only to this machine, where such an agent listens."""

    url: str
    token_file: Path
    key: str = "aiguillage"
    mount: str = "transit"
    ca_file: Path | None = None
    seconds: float = 5.0


class TransitProvider:
    """Data keys that the transit engine wraps.

    The KMS of a cloud is reached by a class like this one: ``create`` asks for a wrapped data
    key under a new version of its key, ``open`` decrypts it, ``destroy`` disables the version.
    """

    name = "transit"

    def __init__(self, transit: Transit) -> None:
        self._transit = transit

    async def create(self, epoch: int) -> bytes:
        """A data key that we have not seen yet: only its wrapped form is asked for."""
        key = self._transit.key
        if epoch > 1:
            await self._call("rotate", f"keys/{key}/rotate")
        made = await self._call("datakey", f"datakey/wrapped/{key}", bits=KEY_BYTES * 8)
        wrapped = _text(made, "ciphertext").encode()
        _version(wrapped)
        return wrapped

    async def open(self, epoch: int, stored: bytes) -> bytes:
        """Have the engine decrypt the data key."""
        _version(stored)
        path = f"decrypt/{self._transit.key}"
        opened = await self._call("decrypt", path, ciphertext=stored.decode())
        try:
            key = base64.b64decode(_text(opened, "plaintext"), validate=True)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise KeyUnavailableError("transit decrypt: the answer holds no key")
        return key

    async def destroy(self, epoch: int, stored: bytes) -> None:
        """Refuse, then delete, the version that wrapped it and all before.

        A key must keep one version: where ours is its last (we moved to another provider),
        there has to be a newer one first.
        """
        keys, first = f"keys/{self._transit.key}", _version(stored) + 1
        shown = await self._call("read", keys)
        if shown.get("latest_version") == first - 1:
            await self._call("rotate", f"{keys}/rotate")
        least = {"min_decryption_version": first, "min_encryption_version": first}
        await self._call("config", f"{keys}/config", **least)
        await self._call("trim", f"{keys}/trim", min_available_version=first)

    async def _call(self, verb: str, path: str, **given: Any) -> dict[str, Any]:
        url = f"{_base(self._transit)}/{self._transit.mount}/{path}"
        status, body = await self._ask(verb, url, given)
        if status not in (200, 204):
            raise KeyUnavailableError(f"transit {verb}: {_reason(status, body)}")
        return _data(verb, body)

    async def _ask(self, verb: str, url: str, given: dict[str, Any]) -> tuple[int, bytes]:
        method, body = "GET" if verb == "read" else "POST", orjson.dumps(given)
        try:
            async with (
                asyncio.timeout(self._transit.seconds),
                self._session() as session,
                session.request(method, url, data=body, allow_redirects=False) as response,
            ):
                return response.status, await _read(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            failed = type(error).__name__
        # outside of the handler: an error of the client holds the request's headers
        raise KeyUnavailableError(f"transit {verb}: {failed}")

    def _session(self) -> aiohttp.ClientSession:
        token = self._transit.token_file.read_text().strip()
        trusted = ssl.create_default_context(cafile=self._transit.ca_file)
        return aiohttp.ClientSession(
            headers={"x-vault-token": token, "content-type": "application/json"},
            connector=aiohttp.TCPConnector(ssl=trusted),
            trust_env=False,
            auto_decompress=False,
        )


def _base(transit: Transit) -> str:
    parts = urlsplit(transit.url)
    try:
        here = parts.hostname == "localhost" or ip_address(parts.hostname or "").is_loopback
    except ValueError:
        here = False
    if parts.scheme != "https" and not (parts.scheme == "http" and here):
        raise KeyUnavailableError("AIGUILLAGE_TRANSIT_URL must begin with https://")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/v1"


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    while len(body) <= MAX_ANSWER_BYTES and (chunk := await response.content.readany()):
        body += chunk
    return body[:MAX_ANSWER_BYTES]


def _reason(status: int, body: bytes) -> str:
    """What an error means, in our words: theirs are not repeated."""
    text = body.decode(errors="replace")
    if status == 400 and TOO_OLD in text:
        return "the version that wrapped the key is gone"
    if status == 400 and NOT_FOUND in text:
        return "it has no such key"
    return f"{REASONS.get(status, 'refused')} (HTTP {status})"


def _data(verb: str, body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)["data"] if body else {}
    except (orjson.JSONDecodeError, KeyError, TypeError):
        data = None
    if not isinstance(data, dict):
        raise KeyUnavailableError(f"transit {verb}: the answer is not the engine's")
    return data


def _text(data: dict[str, Any], name: str) -> str:
    text = data.get(name)
    if not isinstance(text, str):
        raise KeyUnavailableError(f"transit: an answer without {name}")
    return text


def _version(wrapped: bytes) -> int:
    match = WRAPPED.fullmatch(wrapped)
    if match is None:
        raise KeyUnavailableError("transit: what is stored is no wrapped key")
    return int(match[1])
