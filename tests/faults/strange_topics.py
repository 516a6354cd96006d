"""Strangers on the broker: producers to the public topic, and forgers on the hub's own."""

from collections.abc import Sequence
from random import Random
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError

from contracts.registry import SERVICES
from infra.messaging.kafka_client import close
from infra.messaging.record_codes import MAC
from tests.faults.strange_events import binary, hostile, junk, structured, visitor
from tests.faults.strange_scene import Scene

CODECS = (None, "gzip", "snappy", "lz4", "zstd")
STRUCTURED = b"application/cloudevents+json"
FAR = str(9 * 10**17).encode()
BOMB_BYTES = (5 << 20, 24 << 20)
"""Above what a batch may unpack to."""
KEPT = 40
"""Records of the hub that a forger remembers."""
Headers = list[tuple[str, Any]]
Forged = tuple[int, bytes | None, Headers, bool]
"""Partition, value, headers; and whether it is a true copy, which has no effect."""


class Producer:
    """A municipal system on the broker, or somebody who is none."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._by_codec: dict[str | None, AIOKafkaProducer] = {}
        self.topic = f"{scene.prefix}municipal"

    async def step(self, random: Random) -> None:
        """One record: sound, unsound, junk, or one that unpacks to too much."""
        kind = random.random()
        if kind < 0.55:
            await self._sound(random)
        elif kind < 0.8:
            await self._unsound(random)
        elif kind < 0.97:
            content = random.choice(list(junk(random)))
            await self._send(random, content, _odd(random), "junk")
        else:
            await self._bomb(random)

    async def _sound(self, random: Random) -> None:
        event = visitor(random)
        value, headers = _as_record(event, random)
        if await self._send(random, value, headers, "") is not None:
            self._scene.produced.append(event)

    async def _unsound(self, random: Random) -> None:
        name, event = hostile(random)
        await self._send(random, *_as_record(event, random), name)

    async def _bomb(self, random: Random) -> None:
        size = random.choice(BOMB_BYTES)
        producer = await self._producer(random.choice(("gzip", "zstd")))
        if await _sent(producer, self.topic, bytes(size), []) is not None:
            self._scene.unreadable += 1
            self._scene.counts["kafka unpacks to too much"] += 1

    async def _send(
        self, random: Random, value: bytes | None, headers: Headers, wrong: str
    ) -> tuple[int, int] | None:
        producer = await self._producer(random.choice(CODECS))
        place = await _sent(producer, self.topic, value, headers)
        self._scene.counts[f"kafka {wrong or 'sound'}"] += place is not None
        if wrong and place is not None:
            self._scene.unsound[place] = wrong
        return place

    async def _producer(self, codec: str | None) -> AIOKafkaProducer:
        if codec not in self._by_codec:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._scene.bootstrap, compression_type=codec,
                max_request_size=1 << 28, max_batch_size=1 << 16,
            )  # fmt: skip
            await producer.start()
            self._by_codec[codec] = producer
        return self._by_codec[codec]

    async def stop(self) -> None:
        """Leave the broker."""
        for producer in self._by_codec.values():
            await close(producer)


class Forger:
    """Whoever may write to the broker, and reads what the hub says there."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seen: list[Any] = []
        self._made: set[tuple[str, int, int]] = set()
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None

    async def step(self, random: Random) -> None:
        """One forged record, or a copy of a true one in its place."""
        producer, consumer = await self._clients()
        for records in (await consumer.getmany(timeout_ms=10, max_records=200)).values():
            self._seen += [r for r in records if _place(r) not in self._made]
        self._seen = self._seen[-KEPT:]
        topic = self._scene.prefix + random.choice(SERVICES)
        made: Forged = (0, random.randbytes(20), _junk_headers(topic), False)
        if self._seen and random.random() < 0.8:
            record = random.choice(self._seen)
            topic, made = record.topic, _forged(record, random)
        partition, value, headers, copied = made
        sent = await producer.send_and_wait(
            topic, value, key=b"k", partition=partition, headers=headers
        )
        self._made.add((sent.topic, sent.partition, sent.offset))
        self._scene.forged += not copied
        self._scene.counts["forged: a copy" if copied else "forged"] += 1

    async def stop(self) -> None:
        """Leave the broker."""
        for client in (self._producer, self._consumer):
            if client is not None:
                await close(client)

    async def _clients(self) -> tuple[AIOKafkaProducer, AIOKafkaConsumer]:
        if self._producer is None or self._consumer is None:
            self._producer = AIOKafkaProducer(bootstrap_servers=self._scene.bootstrap)
            self._consumer = AIOKafkaConsumer(
                *(self._scene.prefix + service for service in SERVICES),
                bootstrap_servers=self._scene.bootstrap, auto_offset_reset="earliest",
            )  # fmt: skip
            await self._producer.start()
            await self._consumer.start()
        return self._producer, self._consumer


def _forged(record: Any, random: Random) -> Forged:
    headers: Headers = list(record.headers)

    def with_header(name: str, text: bytes) -> Headers:
        return [(n, text if n == name else t) for n, t in headers]

    ways: Sequence[Forged] = (
        (record.partition, record.value, with_header("ce_position", FAR), False),
        (record.partition, record.value, with_header(MAC, b"0" * 64), False),
        (record.partition, record.value, [h for h in headers if h[0] != MAC], False),
        (record.partition, b'{"n": 999}', headers, False),
        (record.partition, None, headers, False),
        ((record.partition + 1) % 4, record.value, headers, False),
        (record.partition, record.value, headers, True),
    )
    return random.choice(ways)


def _junk_headers(topic: str) -> Headers:
    source = f"urn:aiguillage:{topic.rsplit('.', 1)[1]}"
    return [("ce_position", FAR), ("ce_source", source.encode())]


def _as_record(event: dict[str, Any], random: Random) -> tuple[bytes, Headers]:
    """In binary or structured mode, with headers that say nothing of the event."""
    more: Headers = [("spring_json", None), ("\u00e9", b"\xff\xfe"), ("b3", b"0")]
    told = binary(event, "ce_") if random.random() < 0.5 else None
    if told is None:
        return structured(event), [("content-type", STRUCTURED), *more]
    value, named = told
    headers: Headers = [(name, text.encode()) for name, text in named.items()]
    if random.random() < 0.5:
        headers += [
            ("content-type", b"application/json"),
            ("ce_datacontenttype", b"application/json"),
        ]
    return value, [*headers, ("ce_null", None), *more]


def _odd(random: Random) -> Headers:
    return random.choice(
        (
            [], [("content-type", None)], [("ce_id", b"\xff")], [("content-type", STRUCTURED)],
            [("content-type", b"application/json"), ("ce_datacontenttype", b"text/plain")],
            [("ce_time", b"0001-01-01T00:00:00Z"), ("ce_id", b"a"), ("ce_source", b"b")],
        )
    )  # fmt: skip


def _place(record: Any) -> tuple[str, int, int]:
    return record.topic, record.partition, record.offset


async def _sent(
    producer: AIOKafkaProducer, topic: str, value: bytes | None, headers: Headers
) -> tuple[int, int] | None:
    """Partition and offset; None where the broker refuses it, for it is too large."""
    try:
        sent = await producer.send_and_wait(topic, value, key=b"k", headers=headers)
    except KafkaError:
        return None
    return sent.partition, sent.offset
