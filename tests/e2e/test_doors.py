"""Every operation of every service, called with values that no store and no calendar holds.

Whatever a path, a query or a field of a body says, a running hub answers: never a 5xx, never a
cut connection.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from contracts.registry import SERVICES
from services.hub.demo.processes import Hub
from services.hub.openapi import document
from tests.e2e.hubs import STRUCTURED

Json = Any
PARTNER = "petite-foret--mission-locale"
UUID_TEXT = "01936d8a-7b5c-7c3e-9d2a-0123456789ab"
TEXTS = (
    "\0", "a\0b", "\x1b[2J", "\u2028", "٠٠٠١-٠١-٠١", "0001-01-01", "9999-12-31",
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-12:00", "2026-11-30T10:00:60Z",
    "1900-01-01", "2199-12-31", "1900-01-01T00:00:00Z", "2199-12-31T22:59:59.999999Z",
    "-1", str(2**63 - 1), str(2**63),
    str(-(2**63) - 1), "9" * 400, "1e400", "NaN", "sftp://[", "sftp://a:b@[::1]:99999/x",
    "sftp://x:0x16/%00", "https://[v1.x]/", "https://a:b/", "http://\u2100.example/", "..",
    "x" * 3000,
)  # fmt: skip
IN_BODIES = (
    "\0", "0001-01-01", "9999-12-31", "1900-01-01", "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59.999999Z", "2199-12-31T22:59:59.999999Z", "sftp://[", "x" * 3000,
    2**63, -(2**63) - 1, 10**40, None, [], {}, "\ud800", float("nan"),
)  # fmt: skip


@dataclass
class Operation:
    """One operation of a service's OpenAPI, and requests that would fit it."""

    service: str
    path: str
    method: str
    described: Json
    schemas: Json

    @property
    def parameters(self) -> list[Json]:
        return [p for p in self.described.get("parameters", ()) if p["in"] != "header"]

    @property
    def media(self) -> str | None:
        content = self.described.get("requestBody", {}).get("content", {})
        return STRUCTURED if STRUCTURED in content else next(iter(content), None)

    def bodies(self) -> list[Json]:
        """Bodies that fit: with every field, and with those that are required alone."""
        if self.media is None:
            return [None]
        schema = self.described["requestBody"]["content"][self.media]["schema"]
        return [self._sample(schema), self._sample(schema, only_required=True)]

    def usual(self) -> dict[str, str]:
        """Every parameter with a value that fits."""
        return {p["name"]: _text(self._sample(p["schema"])) for p in self.parameters}

    def url(self, values: dict[str, str]) -> str:
        """The path and query with these values, percent-encoded."""
        path, query = self.path, []
        for parameter in self.parameters:
            name, text = parameter["name"], quote(values[parameter["name"]], safe="")
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", text).replace(f"{{{name}:path}}", text)
            else:
                query.append(f"{quote(name)}={text}")
        return path + ("?" + "&".join(query) if query else "")

    def _sample(self, schema: Json, *, only_required: bool = False) -> Json:
        some = partial(self._sample, only_required=only_required)
        if "$ref" in schema:
            return some(self.schemas[schema["$ref"].rsplit("/", 1)[1]])
        if several := schema.get("anyOf", schema.get("oneOf", schema.get("allOf"))):
            return some(several[0])
        if "const" in schema or "enum" in schema:
            return schema.get("const", schema.get("enum", [None])[0])
        kind = schema.get("type", "string")
        if kind == "object":
            named = schema.get("properties", {})
            wanted = schema.get("required", ()) if only_required else named
            return {name: some(named[name]) for name in wanted}
        if kind == "array":
            return [some(schema.get("items", {}))]
        plain = {"integer": max(1, schema.get("minimum", 1)), "boolean": True, "number": 1.0}
        return plain.get(kind) or _string(schema)


def _string(schema: Json) -> str:
    formats = {
        "uuid": UUID_TEXT, "date": "2026-11-01", "date-time": "2026-11-01T10:00:00Z",
        "uri-reference": "urn:desk", "uri": "https://partner.example/hook",
    }  # fmt: skip
    return formats.get(schema.get("format", ""), "x" * max(1, schema.get("minLength", 1)))


def _text(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def operations() -> Iterator[Operation]:
    """Of every service."""
    for service in SERVICES:
        described = document(service)
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                yield Operation(
                    service, path, method, operation, described["components"]["schemas"]
                )


def hostile_bodies(body: Json) -> Iterator[Json]:
    """The body with each part of it replaced, one at a time, by each hostile value."""
    for place in _places(body):
        for value in IN_BODIES:
            yield _replaced(body, place, value)
    if isinstance(body, dict):
        yield body | {"\0": 1, "\ud800": 2, "x" * 3000: 3}


def _places(body: Json, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield place
    parts = body.items() if isinstance(body, dict) else enumerate(body) if _list(body) else ()
    for name, part in parts:
        yield from _places(part, (*place, name))


def _list(value: Json) -> bool:
    return isinstance(value, list)


def _replaced(body: Json, place: tuple[Any, ...], value: Json) -> Json:
    if not place:
        return value
    first, *rest = place
    part = _replaced(body[first], tuple(rest), value)
    if isinstance(body, dict):
        return body | {first: part}
    return [part if i == first else old for i, old in enumerate(body)]


class Caller:
    """Calls operations with a key that they take; remembers every answer that must not be."""

    def __init__(self, hub: Hub, keys: dict[str, str]) -> None:
        self._hub = hub
        self._keys = keys
        self.wrong: list[str] = []
        self.calls = 0

    async def walk(self, operation: Operation) -> None:
        """Each parameter and each part of the body, one at a time, by each hostile value."""
        usual, (body, *others) = operation.usual(), operation.bodies()
        key = await self._key(operation, usual, body)
        for name in usual:
            for text in TEXTS:
                await self._call(operation, key, usual | {name: text}, body)
        for fitting in (body, *others) if operation.media else ():
            for hostile in hostile_bodies(fitting):
                await self._call(operation, key, usual, hostile)

    async def call(self, operation: Operation, values: dict[str, str], body: Json) -> None:
        """Call with a key that it takes."""
        await self._call(operation, await self._key(operation, values, body), values, body)

    async def _key(self, operation: Operation, usual: dict[str, str], body: Json) -> str:
        for key in self._keys.values():
            if await self._call(operation, key, usual, body) not in (401, 403):
                return key
        assert operation.path == "/v1/answers", f"no key opens {operation.path}"
        return ""  # it takes signatures, and no key

    async def _call(
        self, operation: Operation, key: str, values: dict[str, str], body: Json
    ) -> int:
        url = self._hub.address[operation.service] + operation.url(values)
        headers = {"authorization": f"Bearer {key}"}
        data = None
        if operation.media:
            headers["content-type"] = operation.media
            data = json.dumps(body).encode()
        self.calls += 1
        told = f"{operation.method} {operation.path} {values} {data!r}"[:600]
        for connection in ("kept", "new"):  # one that was kept may end as it is used again
            try:
                async with self._hub.session.request(
                    operation.method, URL(url, encoded=True), headers=headers, data=data
                ) as answer:
                    await answer.read()
            except aiohttp.ClientError as error:
                if connection == "new":
                    self.wrong.append(f"{type(error).__name__} {told}")
                continue
            if answer.status >= 500:
                self.wrong.append(f"{answer.status} {told}")
            return answer.status
        return 0


async def addresses(caller: Caller, known: list[Operation]) -> None:
    """An address of each channel, by each hostile text."""
    (register,) = [op for op in known if (op.path, op.method) == ("/v1/endpoints", "post")]
    login = {"host_key": f"ssh-ed25519 {'A' * 68}", "password": "p"}
    desk = {"auth_url": "https://x.example", "client_id": "i", "client_secret": "s"}
    channels: dict[str, Json] = {
        "webhook": {}, "email": {}, "sftp": {"credentials": login},
        "rest": {"application": desk},
    }  # fmt: skip
    for channel, more in channels.items():
        for url in (scheme + text for scheme in ("", "https://", "sftp://") for text in TEXTS):
            body = {"partner_id": PARTNER, "channel": channel, "url": url} | more
            await caller.call(register, {}, body)


@pytest.mark.timeout(900)
async def test_no_value_makes_any_operation_fail(hub: Hub) -> None:
    keys: dict[str, str] = dict(hub.address["keys"])
    path = f"/v1/partners/{PARTNER}/keys"
    status, made = await hub.post("partners", path, "partner_admin", {"name": "doors"})
    assert status == 201, made
    caller = Caller(hub, keys | {"partner": made["key"]})
    known = list(operations())
    assert len(known) > 70
    lanes = [[op for op in known if op.service == service] for service in SERVICES]

    async def lane(of: list[Operation]) -> None:
        for operation in of:
            await caller.walk(operation)

    await asyncio.gather(*map(lane, lanes))
    await addresses(caller, known)
    assert caller.calls > 5000
    assert caller.wrong == [], "\n".join(caller.wrong[:40])
    for service in SERVICES:
        async with hub.session.get(f"{hub.address[service]}/livez") as answer:
            assert answer.status == 200
