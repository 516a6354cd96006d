"""What municipal systems produce straight to Kafka: taken like HTTP, the bad ones kept."""

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from httpx2 import ASGITransport, AsyncClient

from contracts.envelope import STRUCTURED
from contracts.public import PublicContact, PublicWithdrawal
from contracts.tools.examples import envelope as wrap
from infra.base.settings import Settings
from infra.messaging.kafka_client import MAX_PUBLIC_BYTES, close, public_topic_of
from infra.messaging.sources.base import ForeignRecord
from infra.messaging.subscription import Subscription
from infra.platform import Platform
from infra.web.app import Service
from infra.web.auth import create_key
from infra.workers.periodic import PeriodicTask
from services.hub.demo.kafka_broker import Broker
from services.intake.app import build
from services.intake.handlers.inbound import origin_of
from services.intake.handlers.refused import EXPIRED_RECORDS, RefusedRetention
from tests.support.platform import client
from tests.support.postgres import Databases
from tests.support.topic import Topic, records_of

CANARY = "Zyxwanary"
Json = dict[str, Any]


def contact(person: Json | None = None, **data: Any) -> Json:
    said = {"mode": "phone", "person": person or {"ref": "u-1"}} | data
    return wrap(PublicContact.TYPE, said, Random(), "urn:library")


def structured(event: Any, offset: int = 0) -> ForeignRecord:
    value = event if isinstance(event, bytes) else orjson.dumps(event)
    return ForeignRecord("public", 0, offset, value, (("content-type", STRUCTURED.encode()),))


def binary(event: Json, offset: int = 0) -> ForeignRecord:
    named = {k: v for k, v in event.items() if k not in ("data", "datacontenttype")}
    headers = [(f"ce_{name}", str(value).encode()) for name, value in named.items()]
    headers.append(("content-type", event["datacontenttype"].encode()))
    return ForeignRecord("public", 0, offset, orjson.dumps(event["data"]), tuple(headers))


async def test_record_in_either_mode_is_taken(topic: Topic):
    await topic.deliver(structured(contact()), binary(contact()))
    assert await topic.contacts() == 2
    assert await topic.refused() == []
    metas = await topic.rows("SELECT meta->>'actor' AS actor FROM events")
    assert {row["actor"] for row in metas} == {"system:kafka"}


async def test_event_that_came_by_http_too_is_taken_once(topic: Topic, service: Service):
    async with service.database.transaction() as tx:
        key = await create_key(tx, "library", "municipal", ["*"])
    event = contact()
    async with AsyncClient(
        transport=ASGITransport(app=service.app), base_url="http://intake"
    ) as client:
        await topic.deliver(structured(event), binary(event))
        answer = await client.post(
            "/v1/events",
            content=orjson.dumps(event),
            headers={"authorization": f"Bearer {key}", "content-type": STRUCTURED},
        )
    assert answer.status_code == 202
    assert await topic.contacts() == 1
    assert await topic.refused() == []


async def test_bad_record_is_kept_with_its_reason_and_stops_no_other(topic: Topic):
    event = contact()
    bad: Sequence[tuple[ForeignRecord, str, list[str]]] = [
        (structured(b"{"), "malformed", []),
        (ForeignRecord("public", 0, 0, None, ()), "invalid", ["specversion"]),
        (structured({**contact(), "type": CANARY}), "unknown-type", ["type"]),
        (structured(contact(mode=CANARY)), "invalid", ["data.mode"]),
        (structured(contact(**{CANARY: 1})), "invalid", ["data.*"]),
        (structured({**contact(), CANARY: 1}), "invalid", ["*"]),
        (structured(contact(note="185035960612345")), "nir-refused", ["data.note"]),
        (binary({**contact(), "subject": "185035960612390"}), "nir-refused", ["subject"]),
        (structured({"data_base64": b64encode(b'{"note":"185035960612345"}').decode()}
                    | {k: v for k, v in contact().items() if k != "data"}),
         "nir-refused", ["data.note"]),
        (structured({**event, "data": {"mode": "online"}}), "duplicate-id", ["id"]),
        (ForeignRecord("public", 0, 0, None, (), MAX_PUBLIC_BYTES + 1), "too-large", []),
        (replace(structured(contact()), headers=(("content-type", b"text/xml"),)),
         "unsupported-media-type", []),
        (structured(contact({"ref": "u", "facts": {"commune": {"value": "59999"}}})),
         "invalid", ["data.person.facts.commune.value"]),
    ]  # fmt: skip
    given = [structured(event), *(record for record, _, _ in bad), structured(contact())]
    await topic.deliver(*given)
    assert await topic.contacts() == 2
    assert await topic.refused() == [
        (n, reason, fields, 1) for n, (_, reason, fields) in enumerate(bad, 1)
    ]
    assert (await topic.counts())["invalid"] == 5


async def test_kept_record_is_in_no_table_in_clear(topic: Topic):
    person = {"ref": CANARY, "identity": {"family_name": CANARY}}
    await topic.deliver(
        structured(contact(person, note=CANARY)),
        structured(contact(person, **{CANARY: CANARY})),
        binary({**contact(person), "type": CANARY, "subject": CANARY}),
        structured(f'"{CANARY}'.encode()),
    )
    assert len(await topic.refused()) == 3
    for table in ("refused_records", "events", "inbox", "person_refs", "dead_letters"):
        text = "\n".join(
            r["row"] for r in await topic.rows(f"SELECT t::text row FROM {table} t")
        )
        for secret in (CANARY, CANARY.encode().hex()):
            assert secret not in text


async def test_refused_record_is_taken_when_it_is_replayed_after_a_repair(topic: Topic):
    withdrawal = wrap(
        PublicWithdrawal.TYPE,
        {"person": {"person_id": "00000000-0000-4000-8000-000000000007"}},
        Random(),
    )
    await topic.deliver(structured(withdrawal), structured(b"{"))
    assert await topic.replay() == 2
    assert [row[3] for row in await topic.refused()] == [2, 2]
    async with topic.service.database.transaction() as tx:
        await tx.execute(
            "INSERT INTO persons VALUES ('00000000-0000-4000-8000-000000000007', now())"
        )
        await tx.execute(
            "INSERT INTO person_sources (person_id, source) SELECT person_id, $1 FROM persons",
            origin_of(topic.records._master.index, withdrawal["source"]),
        )
    await topic.records._intake._writer.vault.create(
        [row["person_id"] for row in await topic.rows("SELECT person_id FROM persons")]
    )
    assert await topic.replay() == 1
    assert [row[:3] for row in await topic.refused()] == [(1, "malformed", [])]
    types = [row["type"] for row in await topic.rows("SELECT type FROM events")]
    assert types == ["fr.aiguillage.intake.agreement.withdrawn.v1"]


async def test_more_refused_records_than_one_page_are_all_tried(topic: Topic):
    await topic.deliver(*(structured(b"{") for _ in range(450)))
    assert await topic.replay() == 450
    assert {row[3] for row in await topic.refused()} == {2}


async def test_refused_records_are_deleted_after_their_days_and_no_sooner(topic: Topic):
    await topic.deliver(*(structured(b"{") for _ in range(EXPIRED_RECORDS + 3)))
    database, now = topic.service.database, topic.records._clock()
    for hours, left in ((-1, EXPIRED_RECORDS + 3), (1, 0)):
        later = now + timedelta(days=30, hours=hours)
        old = RefusedRetention(database, lambda later=later: later, 30)  # type: ignore[misc]
        while await old.step():
            pass
        assert len(await topic.refused()) == left


@pytest.mark.parametrize("kept", [1, 30])
async def test_intake_deletes_old_refused_records_by_itself_without_a_broker_too(
    databases: Databases, kept: int
):
    settings = Settings(data=databases.directory, refused_days=kept)
    platform = Platform(settings, databases.url, databases.vault_url)
    service = build(platform)
    topic = Topic(records_of(platform, service), service)
    await topic.deliver(structured(b"{"))
    async with service.database.transaction() as tx:
        await tx.execute("UPDATE refused_records SET refused_at = now() - interval '2 days'")
    async with service.running():
        (ticker,) = (w for w in service.workers if w.name == "refused records")
        assert isinstance(ticker, PeriodicTask)
        started = ticker.last_step
        await _until(lambda: _stepped(ticker, started))
        assert len(await topic.refused()) == (0 if kept == 1 else 1)
    await platform.close()


async def _stepped(ticker: PeriodicTask, since: float) -> bool:
    return ticker.last_step > since


@pytest.mark.kafka
async def test_records_on_a_real_topic_are_taken_once_and_in_order(
    databases: Databases, broker: Broker, topic_prefix: str
):
    settings = Settings(
        data=databases.directory, poll_seconds=0.05, kafka_bootstrap=broker.bootstrap,
        topic_prefix=topic_prefix,
    )  # fmt: skip
    platform = Platform(settings, databases.url, databases.vault_url)
    async with build(platform).running() as service:
        topic = Topic(records_of(platform, service), service)
        await _until(lambda: _running(service))
        events = [contact({"ref": f"u-{n % 5}"}) for n in range(40)]
        await _produce(settings, [*events, *events[:10]], [b"{", b"null"])
        await _until(lambda: _has(topic, 40, 2))
        assert await topic.contacts() == 40
        assert await topic.counts() == {"invalid": 1, "malformed": 1}
        assert service.stuck() == []
    await platform.close()


async def _produce(settings: Settings, events: Sequence[Json], bad: Sequence[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    kind = [("content-type", STRUCTURED.encode())]
    for value in (*map(orjson.dumps, events), *bad):
        await producer.send_and_wait(public_topic_of(settings), value, headers=kind)
    await close(producer)


async def _running(service: Service) -> bool:
    (subscription,) = (
        w for w in service.workers if isinstance(w, Subscription) and w.name == "public"
    )
    try:
        await subscription.lag()
    except (ConnectionError, TimeoutError):
        return False
    return True


async def _has(topic: Topic, contacts: int, bad: int) -> bool:
    return await topic.contacts() >= contacts and sum((await topic.counts()).values()) >= bad


async def _until(holds: Any) -> None:
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.05)


async def test_producer_sees_which_of_its_records_were_refused_and_why(topic: Topic):
    bad = contact(mode=CANARY)
    other = {**contact(**{CANARY: CANARY}), "source": "urn:theatre"}
    await topic.deliver(structured(bad), binary(other), structured(b"{"))
    async with await client(topic.service, "municipal", ["urn:library"]) as library:
        listed = await library.get("/v1/refused", params={"source": "URN:library"})
        (found,) = listed.json()["records"]
        assert (found["id"], found["reason"]) == (bad["id"], "invalid")
        assert (found["partition"], found["offset"]) == (0, 0)
        assert found["fields"] == ["data.mode"]
        placed = await library.get("/v1/refused", params={"partition": 0, "offset": 2})
        assert placed.json() == {"records": []}  # of the topic of the settings alone
        forbidden = await library.get("/v1/refused", params={"source": "urn:theatre"})
        assert forbidden.status_code == 403
        nothing = await library.get("/v1/refused")
        assert nothing.status_code == 422
        assert nothing.json()["errors"][0]["field"] == "source"
        assert CANARY not in listed.text + placed.text


async def test_refused_record_is_found_by_the_place_that_the_broker_acknowledged(
    topic: Topic, platform: Platform
):
    record = replace(structured(b"{"), topic=public_topic_of(platform.settings), offset=7)
    async with topic.service.database.transaction() as tx:
        await topic.records.handle([record], tx)
    async with await client(topic.service, "municipal", ["urn:any"]) as system:
        answer = await system.get("/v1/refused", params={"partition": 0, "offset": 7})
    (found,) = answer.json()["records"]
    assert (found["reason"], found["id"], found["fields"]) == ("malformed", None, [])
