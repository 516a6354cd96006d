"""A transit engine on loopback that answers as OpenBao's does, or a real one by its address.

Its answers were taken down from OpenBao 2.7.2;
``tests/integration/infra/test_transit_engine.py``
holds either to them. The environment names a real one (a server in dev mode will do):
``AIGUILLAGE_TEST_TRANSIT_URL``, and a token that may do everything in
``AIGUILLAGE_TEST_TRANSIT_TOKEN``.
"""

import base64
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
import pytest
from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from infra.keys.transit import Transit

REAL_URL = "AIGUILLAGE_TEST_TRANSIT_URL"
REAL_TOKEN = "AIGUILLAGE_TEST_TRANSIT_TOKEN"
Json = dict[str, Any]


class Refused(Exception):
    """An answer with an error."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


@dataclass
class Key:
    """One key of the engine: its versions, and which may still be used."""

    versions: dict[int, bytes] = field(default_factory=lambda: {1: os.urandom(32)})
    latest: int = 1
    least_decryption: int = 1
    least_encryption: int = 0
    least_available: int = 0

    def shown(self) -> Json:
        return {
            "type": "aes256-gcm96", "exportable": False, "allow_plaintext_backup": False,
            "latest_version": self.latest, "min_decryption_version": self.least_decryption,
            "min_encryption_version": self.least_encryption,
            "min_available_version": self.least_available,
        }  # fmt: skip

    def rotate(self) -> None:
        self.latest += 1
        self.versions[self.latest] = os.urandom(32)

    def encrypt(self, clear: bytes) -> str:
        nonce = os.urandom(12)
        text = nonce + AESGCM(self.versions[self.latest]).encrypt(nonce, clear, None)
        return f"vault:v{self.latest}:{base64.b64encode(text).decode()}"

    def decrypt(self, ciphertext: str) -> bytes:
        if not ciphertext.startswith("vault:v"):
            raise Refused("invalid ciphertext: no prefix")
        number, _, text = ciphertext.removeprefix("vault:v").partition(":")
        version, raw = int(number), base64.b64decode(text)
        if version > self.latest:
            raise Refused("invalid ciphertext: version is too new")
        if version < self.least_decryption:
            raise Refused("ciphertext or signature version is disallowed by policy (too old)")
        if len(raw) < 12 + 16:
            raise Refused("invalid ciphertext length")
        try:
            return AESGCM(self.versions[version]).decrypt(raw[:12], raw[12:], None)
        except InvalidTag:
            raise Refused("cipher: message authentication failed") from None

    def configure(self, given: Json) -> None:
        decryption = given.get("min_decryption_version", self.least_decryption)
        encryption = given.get("min_encryption_version", self.least_encryption)
        if decryption > self.latest:
            raise Refused(
                f"cannot set min decryption version of {decryption}, "
                f"latest key version is {self.latest}"
            )
        if decryption < self.least_available:
            raise Refused(
                "min decryption version should not be less then min available version"
            )
        self.least_decryption, self.least_encryption = decryption, encryption

    def trim(self, least: int) -> None:
        said = "minimum available version cannot be "
        if least < self.least_available:
            raise Refused(said + "decremented")
        if self.least_encryption == 0:
            raise Refused(said + "set when minimum encryption version is not set")
        if least > min(self.least_encryption, self.least_decryption):
            raise Refused(said + "greater than minmum encryption version")
        self.least_available = least
        self.versions = {n: key for n, key in self.versions.items() if n >= least}


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Engine:
    """The engine, and how a test reaches it. ``token`` may do everything."""

    url: str
    token: str
    directory: Path
    keys: dict[str, Key] = field(default_factory=dict)
    sealed: bool = False
    reply: Handler | None = None
    calls: list[str] = field(default_factory=list)

    def transit(self, key: str, **given: Any) -> Transit:
        """How the hub would be told to reach it."""
        path = self.directory / f"{uuid4().hex}.token"
        path.write_text(f"{given.pop('token', self.token)}\n")
        return Transit(
            **{"url": self.url, "token_file": path, "key": key, "seconds": 5} | given
        )

    async def ask(self, method: str, path: str, **given: Any) -> tuple[int, Json]:
        """Ask as its operator would; answers status and document."""
        url, headers = f"{self.url}/v1/{path}", {"x-vault-token": self.token}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, url, json=given or None) as response,
        ):
            body = await response.read()
            return response.status, orjson.loads(body) if body else {}

    async def new_key(self) -> str:
        """A key of a name that nobody has yet."""
        name = f"aiguillage-{uuid4().hex[:8]}"
        status, _ = await self.ask("POST", f"transit/keys/{name}")
        assert status in (200, 204)
        return name

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(request.path.removeprefix("/v1/transit/"))
        if self.reply:
            return await self.reply(request)
        if self.sealed:
            return _errors(503, "Vault is sealed")
        if request.headers.get("x-vault-token") != self.token:
            return _errors(403, "permission denied")
        mount, _, path = request.path.removeprefix("/v1/").partition("/")
        if mount != "transit":
            said = f'no handler for route "{mount}/{path}". route entry not found.'
            return _errors(404, said)
        body = await request.read()
        try:
            data = self._answer(request.method, path, orjson.loads(body) if body else {})
        except Refused as error:
            return _errors(400, error.said)
        return web.json_response({"data": data}) if data is not None else _errors(404)

    def _answer(self, method: str, path: str, given: Json) -> Json | None:
        what, *rest = path.split("/")
        name = rest[1] if what == "datakey" else rest[0]
        key, verb = self.keys.get(name), rest[1] if what == "keys" and rest[1:] else what
        if what == "keys" and not rest[1:]:
            if method != "GET":
                key = self.keys.setdefault(name, Key())
            return key.shown() if key else None
        if key is None:
            raise Refused(MISSING[verb].format(name))
        return self._do(key, verb, rest[0], given)

    def _do(self, key: Key, verb: str, kind: str, given: Json) -> Json:
        if verb == "datakey":
            clear = os.urandom(given.get("bits", 256) // 8)
            made = {"ciphertext": key.encrypt(clear), "key_version": key.latest}
            shown = {"plaintext": base64.b64encode(clear).decode()}
            return made | (shown if kind == "plaintext" else {})
        if verb == "decrypt":
            return {"plaintext": base64.b64encode(key.decrypt(given["ciphertext"])).decode()}
        if verb == "rotate":
            key.rotate()
        elif verb == "config":
            key.configure(given)
        else:
            key.trim(given["min_available_version"])
        return key.shown()


MISSING = {
    "datakey": "encryption key not found",
    "decrypt": "encryption key not found",
    "rotate": "key not found",
    "trim": "invalid key name",
    "config": "no existing key named {} could be found",
}


def _errors(status: int, *said: str) -> web.Response:
    return web.json_response({"errors": list(said)}, status=status)


@asynccontextmanager
async def simulated(
    directory: Path, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Engine]:
    """The simulator, on a free port of loopback."""
    engine = Engine("", f"s.{uuid4().hex}", directory)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", engine.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    engine.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        yield engine
    finally:
        await runner.cleanup()


@pytest.fixture
async def transit_engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """The real one that the environment names, else the simulator."""
    if url := os.environ.get(REAL_URL):
        engine = Engine(url.rstrip("/"), os.environ[REAL_TOKEN], tmp_path)
        await engine.ask("POST", "sys/mounts/transit", type="transit")  # 400: it is there
        yield engine
        return
    async with simulated(tmp_path) as engine:
        yield engine
