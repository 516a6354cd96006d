"""Strangers on the broker: whatever they produce stops nobody, and is never believed."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.record.util import calc_crc32c

from infra.base.settings import Settings
from infra.messaging import dead_letters
from infra.messaging.cloudevents import to_kafka
from infra.messaging.kafka_client import MAX_PUBLIC_BYTES, close, public_topic_of, topic_of
from infra.messaging.publications import read_publication
from infra.messaging.record_codes import MAC, RecordKey, Stamp
from infra.messaging.sources.base import FOREIGN, UNREADABLE, ForeignRecord
from infra.messaging.sources.public import public_source
from infra.messaging.subscription import Subscription
from infra.messaging.topics import create_topics
from infra.platform import open_vault
from infra.postgres.transaction import Transaction
from services.hub.demo.kafka_broker import JarBroker
from tests.support.kafka import skip_if_asked
from tests.support.postgres import Databases
from tests.support.sources import World, persons, world

pytestmark = pytest.mark.kafka
FAR = 9 * 10**17
CODECS = [None, "gzip", "snappy", "lz4", "zstd"]


@pytest.fixture
async def hub(hub: World) -> World:
    await create_topics(hub.settings)
    return hub


class Municipal:
    """A reader of the public topic, and somebody who produces to it."""

    def __init__(self, hub: World) -> None:
        self.hub = hub
        self.seen: list[ForeignRecord] = []
        self.member: Subscription[ForeignRecord] = Subscription(
            "public", hub.referrals, public_source(hub.settings, "public"), self._handle,
            poll_seconds=0.05,
        )  # fmt: skip
        self.topic = public_topic_of(hub.settings)

    async def _handle(self, records: Sequence[ForeignRecord], tx: Transaction) -> None:
        self.seen += records

    async def produce(self, *values: bytes | None, **options: Any) -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=self.hub.settings.kafka_bootstrap,
            max_request_size=1 << 30, max_batch_size=1 << 20, **options,
        )  # fmt: skip
        await producer.start()
        for value in values:
            await producer.send_and_wait(self.topic, value, key=b"k", partition=0)
        await close(producer)

    async def has_seen(self, *values: bytes | None) -> bool:
        return [record.value for record in self.seen] == list(values)

    async def alarm(self, count: int = 1) -> Any:
        """The only alarm, once it was raised so often."""
        while True:
            found = await self.hub.fetch("SELECT * FROM referrals.alarms")
            if found and found[0]["count"] >= count:
                assert len(found) == 1
                return found[0]
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("codec", CODECS)
async def test_records_of_every_codec_are_read(hub: World, codec: str | None):
    municipal = Municipal(hub)
    hub.start(municipal.member)  # type: ignore[arg-type]
    values = (b"one" * 1000, None, b"two")
    await municipal.produce(*values, compression_type=codec)
    await hub.until(lambda: municipal.has_seen(*values))


async def test_record_that_unpacks_to_200_mib_is_stepped_over_with_an_alarm(hub: World):
    municipal = Municipal(hub)
    hub.start(municipal.member)  # type: ignore[arg-type]
    for codec in ("zstd", "gzip"):  # on the wire: 6 KB and 200 KB
        await municipal.produce(bytes(200 * 1024 * 1024), compression_type=codec)
    await municipal.produce(b"sound")
    await hub.until(lambda: municipal.has_seen(b"sound"))
    alarm = await municipal.alarm(2)
    assert (alarm["kind"], alarm["subject"]) == (UNREADABLE, municipal.topic)
    assert alarm["detail"].startswith("partition 0, offsets 1 to 1, ")
    parked = await hub.fetch("SELECT key FROM referrals.dead_letters ORDER BY id")
    assert [row["key"] for row in parked] == ["0-0", "0-1"]


async def test_only_place_and_size_are_kept_of_a_record_that_is_too_large(hub: World):
    municipal = Municipal(hub)
    hub.start(municipal.member)  # type: ignore[arg-type]
    large = b"a" * (MAX_PUBLIC_BYTES + 1)
    fits = large[2:]  # the key is counted too
    await municipal.produce(large, fits, compression_type="gzip")
    await hub.until(lambda: municipal.has_seen(None, fits))
    assert municipal.seen[0].size == len(large) + 1


async def test_header_whose_name_is_no_text_stops_nobody(hub: World):
    municipal = Municipal(hub)
    hub.start(municipal.member)  # type: ignore[arg-type]
    producer = AIOKafkaProducer(bootstrap_servers=hub.settings.kafka_bootstrap)
    await producer.start()
    batch = producer.create_batch()
    batch.append(timestamp=None, key=None, value=b"odd", headers=[("zz", b"1")])
    made = bytearray(batch._build())
    at = made.index(b"zz")
    made[at : at + 2] = b"\xff\xfe"
    made[17:21] = calc_crc32c(bytes(made[21:])).to_bytes(4)
    batch._buffer = made
    await (await producer.send_batch(batch, municipal.topic, partition=0))
    await close(producer)
    await municipal.produce(b"sound")
    await hub.until(lambda: municipal.has_seen(b"odd", b"sound"))
    assert municipal.seen[0].headers == (("??", b"1"),)


async def _read_all(hub: World) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(
        topic_of(hub.settings, "intake"),
        bootstrap_servers=hub.settings.kafka_bootstrap, auto_offset_reset="earliest",
    )  # fmt: skip
    await consumer.start()
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        found: list[ConsumerRecord] = []
        while len(found) < sum(ends.values()):
            for batch in (await consumer.getmany(timeout_ms=100)).values():
                found += batch
        return found
    finally:
        await close(consumer)


async def _produce_ours(hub: World, *records: tuple[int, bytes | None, Any]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=hub.settings.kafka_bootstrap)
    await producer.start()
    topic = topic_of(hub.settings, "intake")
    for partition, value, headers in records:
        await producer.send_and_wait(topic, value, partition=partition, headers=headers)
    await close(producer)


async def _forgeries(hub: World) -> list[tuple[int, bytes | None, Any]]:
    """One of each kind, made of what anybody who reads the topic can see."""
    seen = (await _read_all(hub))[0]
    partition, value, headers = seen.partition, seen.value, list(seen.headers)

    def with_header(name: str, text: bytes) -> list[tuple[str, bytes]]:
        return [(n, text if n == name else t) for n, t in headers]

    far = str(FAR).encode()
    junk = [("ce_position", far), ("ce_source", b"urn:aiguillage:intake")]
    return [
        (partition, b"{}", junk),
        (partition, value, with_header("ce_position", far)),
        (partition, value, with_header(MAC, b"0" * 64)),
        (partition, value, [h for h in headers if h[0] != MAC]),
        (partition, b'{"n": 999}', headers),
        ((partition + 1) % hub.settings.topic_partitions, value, headers),
    ]


async def test_forged_records_move_no_mark_are_not_believed_and_alarm(hub: World):
    everybody = persons(20)
    member = hub.subscription()
    hub.start(hub.relay())
    hub.start(member)
    expected = await hub.append(everybody)
    await hub.settled(expected)
    forged = await _forgeries(hub)
    await _produce_ours(hub, *forged)
    expected += await hub.append(everybody, 3)
    await hub.settled(expected)
    await hub.quiet(member)
    parked = await hub.fetch("SELECT error FROM referrals.dead_letters ORDER BY id")
    assert sorted(row["error"] for row in parked) == sorted(
        ["without a code of this hub"] * 2
        + ["its code is not this hub's, or of another place"] * 4
    )
    (alarm,) = await hub.fetch("SELECT * FROM referrals.alarms")
    assert (alarm["kind"], alarm["count"]) == (FOREIGN, len(forged))
    assert max(position for _, position in await hub.standing()) == len(expected)


async def test_a_flood_of_forged_records_keeps_few_places_and_counts_all(
    hub: World, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(dead_letters, "MOST_PLACES", 5)
    member = hub.subscription()
    hub.start(hub.relay())
    hub.start(member)
    expected = await hub.append(persons(3))
    await hub.settled(expected)
    await _produce_ours(hub, *[(n % 2, b"{}", []) for n in range(12)])
    await hub.quiet(member)
    await hub.fetch(
        'INSERT INTO referrals.dead_letters (subscription, source, partition, "offset", key, '
        "record, error) SELECT subscription, source, 0, 99, 'a person', '', '' "
        "FROM referrals.dead_letters LIMIT 1"
    )
    (alarm,) = await hub.fetch("SELECT * FROM referrals.alarms")
    assert (alarm["kind"], alarm["count"]) == (FOREIGN, 12)
    assert await hub.fetch("SELECT count(*) FROM referrals.dead_letters") == [(6,)]
    assert (await member.discard(), await member.discard()) == (5, 0)
    assert await hub.fetch("SELECT key FROM referrals.dead_letters") == [("a person",)]


async def test_copies_of_our_own_records_in_their_place_have_no_effect(hub: World):
    member = hub.subscription()
    hub.start(hub.relay())
    hub.start(member)
    expected = await hub.append(persons(10), 2)
    await hub.settled(expected)
    seen = await _read_all(hub)
    await _produce_ours(hub, *((r.partition, r.value, list(r.headers)) for r in seen))
    expected += await hub.append(persons(10))
    await hub.settled(expected)
    await hub.quiet(member)
    assert await hub.parked() == []


async def test_record_of_another_hub_is_foreign(
    hub: World, databases: Databases, tmp_path: Any
):

    hub.start(hub.relay())
    (effect,) = await hub.append(persons(1))
    member = hub.subscription()
    hub.start(member)
    await hub.settled([effect])
    other = RecordKey(open_vault(Settings(data=tmp_path / "other"), databases.vault_url).master)
    async with hub.intake.reading() as connection:
        (event,) = await member.source._table.read(connection, 0, 1)  # type: ignore[attr-defined]
        publication = await read_publication(connection, "intake")
    assert publication is not None
    _, value, headers = to_kafka(replace(event, position=FAR))
    signed = other.sign(0, value, headers, Stamp(publication.generation, 0))
    await _produce_ours(hub, (0, value, signed))
    await hub.until(lambda: _parked(hub))
    assert await hub.effects() == [effect]


async def _parked(hub: World) -> bool:
    return bool(await hub.parked())


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A broker whose files a test may change."""
    skip_if_asked()
    with JarBroker.start(tmp_path_factory.mktemp("disk")) as broker:
        yield broker


@pytest.mark.parametrize("damage", ["checksum does not match", "unknown codec 7"])
async def test_batch_damaged_on_the_brokers_disk_is_stepped_over_with_an_alarm(
    disk: JarBroker, databases: Databases, topic_prefix: str, damage: str
):
    async with world(databases, disk.bootstrap, topic_prefix) as hub:
        await create_topics(hub.settings)
        municipal = Municipal(hub)
        await municipal.produce(b"before", b"damaged", b"after", compression_type="lz4")
        await asyncio.to_thread(_damage, disk, municipal.topic, damage)
        hub.start(municipal.member)  # type: ignore[arg-type]
        await hub.until(lambda: municipal.has_seen(b"before", b"after"))
        alarm = await municipal.alarm()
        assert alarm["kind"] == UNREADABLE
        assert alarm["detail"].startswith("partition 0, offsets 1 to 1, ")
        assert alarm["detail"].endswith(damage)


def _damage(disk: JarBroker, topic: str, how: str) -> None:
    """Change the second batch where the broker keeps it; it hands out what is in the file."""
    (path,) = (disk._config.parent / "log" / f"{topic}-0").glob("*.log")
    content = bytearray(path.read_bytes())
    start = 12 + int.from_bytes(content[8:12])
    end = start + 12 + int.from_bytes(content[start + 8 : start + 12])
    if how.startswith("unknown"):
        content[start + 22] |= 7
        content[start + 17 : start + 21] = calc_crc32c(
            bytes(content[start + 21 : end])
        ).to_bytes(4)
    else:
        content[end - 3] ^= 0xFF
    with path.open("r+b") as file:
        file.write(content)
