"""Callers that send anything to anything: values, tables, slow and half-open connections."""

import asyncio
import contextlib
from copy import deepcopy
from random import Random
from typing import Any
from urllib.parse import urlsplit

import orjson
from yarl import URL

from contracts.registry import SERVICES
from tests.e2e.hubs import STRUCTURED
from tests.e2e.test_canary import CANARY
from tests.e2e.test_doors import TEXTS, Operation, hostile_bodies, operations
from tests.faults.campaign import BATCH
from tests.faults.strange_events import (
    NIR,
    binary,
    hostile,
    junk,
    statement,
    structured,
    visitor,
)
from tests.faults.strange_scene import Scene
from tests.integration.partners.test_partners_import import SERVICE, STRUCTURE

HELD = 60
"""Connections that say nothing, or too little, at once."""
HELD_SECONDS = 12
LATELY = 12
"""Persons among whom the adviser looks."""
BIG = 3 << 20
SOURCES = ("etrange-a", "etrange-b")
Row = dict[str, Any]


class Emitter:
    """Municipal systems, and who takes itself for one."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._url = scene.hub.address["intake"] + "/v1/events"

    async def step(self, random: Random) -> None:
        """One request: an event, a batch, or neither."""
        kind = random.random()
        if kind < 0.5:
            await self._sound(random)
        elif kind < 0.8:
            await self._unsound(*hostile(random), random)
        elif kind < 0.92:
            await self._batch(random)
        else:
            content = random.choice(list(junk(random)))
            media = random.choice((STRUCTURED, BATCH, "application/json", "text/plain", "é"))
            given = {"content-type": media}
            await self._refused("junk", content, given, content)

    async def _sound(self, random: Random) -> None:
        event = visitor(random) if random.random() < 0.85 else statement(random)
        told = binary(event, "ce-") if random.random() < 0.3 else None
        body, headers = told or (structured(event), {})
        media = {"content-type": "application/json" if told else STRUCTURED}
        status, said = await self._post(body, headers | media)
        if status != 202:
            self._scene.wrong(f"a sound event got {status} {said[:200]!r}", event)
        elif "contact" in event["type"]:
            self._scene.contacts[event["id"]] = orjson.loads(said)

    async def _unsound(self, wrong: str, event: Any, random: Random) -> None:
        await self._refused(wrong, structured(event), {"content-type": STRUCTURED}, event)

    async def _refused(
        self, wrong: str, body: bytes, headers: dict[str, str], event: Any
    ) -> None:
        status, said = await self._post(body, headers)
        if not 400 <= status < 500:
            self._scene.wrong(f"{wrong}: {status} {said[:200]!r}", event)

    async def _batch(self, random: Random) -> None:
        events = [visitor(random) for _ in range(random.randrange(1, 6))]
        wrong = [hostile(random) for _ in range(random.randrange(3))]
        body = structured(events + [event for _, event in wrong])
        status, said = await self._post(body, {"content-type": BATCH})
        if status in (400, 413):  # one that no UTF-8 can hold, or too much at once, spoils all
            return
        results = orjson.loads(said)["results"]
        for event, result in zip(events, results, strict=False):
            if "receipt" in result:
                self._scene.contacts[event["id"]] = result["receipt"]
            else:
                self._scene.wrong(f"a sound event of a batch: {result}", event)
        for (name, event), result in zip(wrong, results[len(events) :], strict=True):
            if "receipt" in result:
                self._scene.wrong(f"{name}, in a batch, was taken", event)

    async def _post(self, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        role = "municipal"
        for _ in range(20):
            status, said = await self._scene.ask(
                "events", self._url, body, headers=headers, role=role
            )
            if status not in (0, 503):
                break
            await asyncio.sleep(0.5)
        return status, said


class Walker:
    """Random values, into every operation of every OpenAPI, with every key and none."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._known = list(operations())
        self._bodies: dict[int, list[Any]] = {}
        self._fits: dict[int, str] = {}

    async def step(self, random: Random) -> None:
        """One call; mostly with a key that the operation takes, once one is found."""
        number = random.randrange(len(self._known))
        operation = self._known[number]
        values, body = operation.usual(), None
        if values and random.random() < 0.7:
            values[random.choice(sorted(values))] = self._value(operation, random)
        if operation.media:
            if number not in self._bodies:
                fits = operation.bodies()
                self._bodies[number] = [b for fit in fits for b in hostile_bodies(fit)]
            body = random.choice(self._bodies[number])
        role = random.choice((*sorted(self._scene.keys), ""))
        if random.random() < 0.85:
            role = self._fits.get(number, role)
        if await self._call(operation, values, body, role) not in (401, 403):
            self._fits[number] = role

    async def _call(
        self, operation: Operation, values: dict[str, str], body: Any, role: str
    ) -> int:
        url = self._scene.hub.address[operation.service] + operation.url(values)
        given = {"content-type": operation.media} if operation.media else {}
        data = structured(body) if operation.media else None
        status, _ = await self._scene.ask(
            "api", URL(url, encoded=True), data,
            method=operation.method, headers=given, role=role, stranger=not role,
        )  # fmt: skip
        return status

    def _value(self, operation: Operation, random: Random) -> str:
        """A hostile text; where one only reads, perhaps the id of somebody who was here."""
        known = list(self._scene.contacts.values())
        if operation.method == "get" and known and random.random() < 0.3:
            return str(random.choice(known)[random.choice(("person_id", "contact_id"))])
        return random.choice(TEXTS)


class Keeper:
    """Directories: sound, cut, with rows that must be refused, again and again."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._url = scene.hub.address["partners"] + "/v1/directory/import"

    async def step(self, random: Random) -> None:
        """One import."""
        source = random.choice(SOURCES)
        rows = [_row(source, n, random) for n in range(random.choice((5, 20, 120)))]
        bad = [
            _spoilt(_row(source, 900 + n, random), random) for n in range(random.randrange(4))
        ]
        structure = STRUCTURE | {"source": source, "id": f"{source}--1"}
        whole = {"structures": [structure], "services": [*rows, *bad]}
        body = structured(whole)
        kind = random.random()
        if kind < 0.2:
            body = body[: random.randrange(1, len(body) - 1)]
        elif kind < 0.3:
            body = random.choice(list(junk(random)))
        media = {"content-type": "application/json"}
        url = f"{self._url}?withdraw_many=true&dry_run={random.choice(('true', 'false'))}"
        status, said = await self._scene.ask(
            "directory", url, body, headers=media, role="partner_admin"
        )
        if kind >= 0.3:
            self._judge(status, said, rows, bad)
        elif status == 200:
            self._scene.wrong("a cut directory was taken", body[-100:])

    def _judge(self, status: int, said: bytes, rows: list[Row], bad: list[Row]) -> None:
        if status != 200:
            if status != 503:
                self._scene.wrong(f"a directory got {status} {said[:200]!r}", bad)
            return
        report = orjson.loads(said)
        refused = {(row["what"], row.get("row")) for row in report["refused"]}
        wanted = {("service", len(rows) + n + 1) for n in range(len(bad))}
        if {row for _, row in refused} != {row for _, row in wanted}:
            self._scene.wrong(f"rows refused: {report['refused']}"[:600], bad)


def _row(source: str, number: int, random: Random) -> Row:
    return SERVICE | {
        "source": source, "id": f"{source}--1--{number}", "structure_id": f"{source}--1",
        "nom": f"Service {number}", "thematiques": ["sante--acces-aux-soins"],
        "description": "Un lieu " + "x" * random.choice((5, 50, 500)),
    }  # fmt: skip


def _spoilt(row: Row, random: Random) -> Row:
    wrong = random.choice(
        (
            {"nom": "=?utf-8?q?=0D=0ABcc:_v@x?="}, {"nom": "a\0b"}, {"nom": "a\x1b[2Jb"},
            {"nom": "a\u202eb"},
            {"zone_eligibilite": ["59990"]}, {"zone_eligibilite": ["R32"]},
            {"thematiques": [CANARY]}, {"date_maj": "0000-00-00"}, {"nom": None},
            {"description": f"appelez {random.choice(NIR)}"}, {"description": "x" * 70_000},
            {"structure_id": "nobody--1"}, {"frais": 10**40},
        )
    )  # fmt: skip
    return deepcopy(row) | wrong


class Idler:
    """Connections that say nothing, too little or too much; at most ``HELD`` at once."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._held: set[asyncio.Task[None]] = set()

    async def step(self, random: Random) -> None:
        """Open another one."""
        if len(self._held) >= HELD:
            return
        url = urlsplit(self._scene.hub.address[random.choice(SERVICES)])
        assert url.port is not None
        task = asyncio.create_task(self._hold(url.port, random.choice(WAYS), random.random()))
        self._held.add(task)
        task.add_done_callback(self._held.discard)
        self._scene.counts["connections held"] += 1

    async def _hold(self, port: int, way: str, share: float) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(HELD_SECONDS * share + 1):
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", port, local_addr=("127.0.0.2", 0)
                )
                try:
                    await _say(way, writer)
                    while await reader.read(65536):
                        pass
                finally:
                    writer.close()

    async def stop(self) -> None:
        """Close them all."""
        for task in self._held:
            task.cancel()
        await asyncio.gather(*self._held, return_exceptions=True)


WAYS = ("nothing", "half a head", "half a body", "drip", "big body", "chunks", "garbage")


async def _say(way: str, writer: asyncio.StreamWriter) -> None:
    head = b"POST /v1/events HTTP/1.1\r\nHost: hub\r\ncontent-type: application/json\r\n"
    if way == "half a head":
        writer.write(head)
    elif way == "half a body":
        writer.write(head + b"content-length: 5000\r\n\r\n" + b"x" * 100)
    elif way == "garbage":
        writer.write(b"\x16\x03\x01\0\xff\r\n\r\n" * 20)
    elif way == "drip":
        for byte in head:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.2)
    elif way == "big body":
        writer.write(head + b"content-length: %d\r\n\r\n" % BIG)
        await _pour(writer, b"x" * 65536)
    elif way == "chunks":
        writer.write(head + b"transfer-encoding: chunked\r\n\r\n")
        await _pour(writer, b"10000\r\n" + b"x" * 65536 + b"\r\n")
    await writer.drain()


async def _pour(writer: asyncio.StreamWriter, chunk: bytes) -> None:
    for _ in range(BIG // len(chunk)):
        writer.write(chunk)
        await writer.drain()


class Adviser:
    """An adviser who confirms what waits for one, so that partners are asked."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def step(self, random: Random) -> None:
        """Look at a person who was here, and confirm a draft."""
        if not self._scene.contacts:
            return
        receipt = random.choice(list(self._scene.contacts.values())[-LATELY:])
        address = self._scene.hub.address["referrals"]
        _, said = await self._scene.ask(
            "adviser", f"{address}/v1/cases?person_id={receipt['person_id']}", method="GET",
            role="adviser",
        )  # fmt: skip
        cases = orjson.loads(said)["cases"] if said else []
        drafts = [r for c in cases for r in c["referrals"] if r["status"] == "draft"]
        for draft in drafts[:3]:
            url = f"{address}/v1/referrals/{draft['referral_id']}/confirm"
            media = {"content-type": "application/json"}
            await self._scene.ask("adviser", url, b"{}", headers=media, role="adviser")
