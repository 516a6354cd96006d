"""A name seeded in every free-text and identity field is found nowhere in clear.

Tables of both databases, every record of every topic of ours, every log line, every error: the
whole hub, one process per service, with Apache Kafka in between.
"""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp.web
import asyncpg
import orjson
import pytest
from aiokafka import AIOKafkaConsumer

from contracts.examples import agreement, envelope
from contracts.intake import PublicContact, PublicFacts
from contracts.registry import SERVICES
from contracts.values import PartnerKind
from infra.embedded import EmbeddedPostgres
from infra.platform import DATABASE
from services.demo import counts, demo_environment, scaled_out, simulators
from services.processes import Hub
from tests.e2e.hubs import JOB, STRUCTURED, all_logged, emit, until, with_referral

CANARY = "Zébulonneau"
FORMS = (
    CANARY.encode(),
    CANARY.upper().encode(),
    orjson.dumps(CANARY)[1:-1],
    b"Z\\u00e9bulonneau",
    CANARY.encode().hex().encode(),
    base64.b64encode(CANARY.encode())[:-3],
)
MAIL = "zebulonneau@example.org"
BATCH = "application/cloudevents-batch+json"


@pytest.fixture
async def scaled(broker: Any, topic_prefix: str) -> AsyncIterator[tuple[Hub, Path]]:
    """One process per service, on the session's broker."""
    async with AsyncExitStack() as stack:
        name = stack.enter_context(TemporaryDirectory(prefix="aiguillage-canary-"))
        directory = Path(name)
        server = EmbeddedPostgres(directory)
        server.start()
        stack.callback(server.stop)
        environment = demo_environment() | {
            "AIGUILLAGE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "AIGUILLAGE_TOPIC_PREFIX": topic_prefix,
            "AIGUILLAGE_LOG_LEVEL": "DEBUG",
        }
        hub = await scaled_out(directory, server, environment)
        stack.push_async_callback(hub.stop)
        yield hub, directory


def seeded(ref: str) -> dict[str, Any]:
    """A contact with the name wherever a person may write."""
    resident = {
        "ref": f"{ref} {CANARY}",
        "identity": {
            "family_name": CANARY, "given_name": CANARY, "phone": "+33612345678",
            "email": MAIL, "address": f"1 rue {CANARY}",
        },
        "facts": {
            "birth_date": {"value": "2006-05-17"},
            "commune": {"value": "59459"},
            "situation": {"value": "job-seeker"},
            "project": {"value": f"devenir {CANARY}"},
        },
    }  # fmt: skip
    return {
        "mode": "walk-in",
        "person": resident,
        "agreements": [agreement(kind) for kind in PartnerKind],
        "needs": [{"thematique": JOB, "note": f"{CANARY} cherche"}],
        "note": f"vu avec {CANARY}",
    }


async def send(hub: Hub) -> list[str]:
    """Good events in every mode; answers the persons."""
    random = Random(5)
    first = await emit(hub, envelope(PublicContact.TYPE, seeded("a"), random))
    batch = [envelope(PublicContact.TYPE, seeded("b"), random)]
    _, answer = await hub.post("intake", "/v1/events", "municipal", batch, BATCH)
    facts = {"person": seeded("a")["person"]}
    await emit(hub, envelope(PublicFacts.TYPE, facts, random))
    return [first["person_id"], answer["results"][0]["receipt"]["person_id"]]


async def send_bad(hub: Hub) -> list[bytes]:
    """Bad events that bear the name in wrong places; answers what was said of them."""
    random, said = Random(6), []
    good = envelope(PublicContact.TYPE, seeded("c"), random)
    bad: list[dict[str, Any]] = [
        good | {"type": f"fr.{CANARY}"},
        good | {"data": good["data"] | {"mode": CANARY}},
        good | {"data": good["data"] | {"needs": [{"thematique": CANARY}]}},
        good | {"data": good["data"] | {"note": f"{CANARY} 1 85 05 59 459 084 36"}},
    ]
    for event in bad:
        status, problem = await hub.post("intake", "/v1/events", "municipal", event, STRUCTURED)
        assert status == 422
        said.append(orjson.dumps(problem))
    # the sender is told its unknown field's name, and nobody else is
    unknown = good | {"data": good["data"] | {CANARY: CANARY}}
    status, _ = await hub.post("intake", "/v1/events", "municipal", unknown, STRUCTURED)
    assert status == 422
    headers = {
        "authorization": f"Bearer {hub.address['keys']['municipal']}",
        "content-type": STRUCTURED,
    }
    url = hub.address["intake"] + "/v1/events"
    async with hub.session.post(url, headers=headers, data=f"{{{CANARY}".encode()) as answer:
        assert answer.status == 400
        said.append(await answer.read())
    return said


async def table_texts(url: str) -> AsyncIterator[bytes]:
    """Every row of every table of ours, as text (bytea as hex)."""
    connection = await asyncpg.connect(url)
    tables = await connection.fetch(
        "SELECT schemaname, tablename FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    for schema, table in tables:
        for row in await connection.fetch(f"SELECT t::text AS t FROM {schema}.{table} AS t"):
            yield row["t"].encode()
    await connection.close()


async def topic_bytes(bootstrap: str, prefix: str) -> list[bytes]:
    """Every key, value and header of our services' topics."""
    found: list[bytes] = []
    topics = [prefix + service for service in SERVICES]
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        while records := await consumer.getmany(timeout_ms=3000):
            for record in (record for part in records.values() for record in part):
                found.append((record.key or b"") + (record.value or b""))
                found += [name.encode() + value for name, value in record.headers]
    finally:
        await consumer.stop()
    return found


@pytest.mark.kafka
async def test_name_is_found_nowhere_in_clear(
    scaled: tuple[Hub, Path], broker: Any, topic_prefix: str
):
    hub, directory = scaled
    async with simulators(hub) as partners:
        persons = await send(hub)
        said = await send_bad(hub)
        for person_id in persons:
            await with_referral(hub, person_id)

        async def answered() -> bool:
            return (await counts(partners))["mission-locale"]["answers"] >= 8

        await until(answered)
        await all_logged(hub)
        seen = [text async for text in table_texts(hub.address["database_url"])]
        keys = hub.address["database_url"].replace(f"/{DATABASE}?", f"/{DATABASE}_vault?")
        seen += [text async for text in table_texts(keys)]
        records = await topic_bytes(broker.bootstrap, topic_prefix)
        logs = [path.read_bytes() for path in directory.glob("*.log")]
    assert len(records) > 20
    assert len(seen) > 100
    for text in (*seen, *records, *logs, *said):
        for form in (*FORMS, MAIL.encode()):
            assert form not in text, text[:300]


@pytest.mark.kafka
async def test_partner_is_told_the_agreed_fields_and_nothing_else(
    scaled: tuple[Hub, Path],
):
    hub, _ = scaled
    received: list[dict[str, Any]] = []

    async def hook(request: aiohttp.web.Request) -> aiohttp.web.Response:
        received.append(orjson.loads(await request.read()))
        return aiohttp.web.Response(status=204)

    app = aiohttp.web.Application()
    app.add_routes([aiohttp.web.post("/hook", hook)])
    runner = aiohttp.web.AppRunner(app, access_log=None)
    await runner.setup()
    await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
    body = {
        "partner_id": "petite-foret--mission-locale",
        "service_ids": [],
        "url": f"http://127.0.0.1:{runner.addresses[0][1]}/hook",
    }
    status, _ = await hub.post("partners", "/v1/endpoints", "partner_admin", body)
    assert status == 201
    await emit(hub, envelope(PublicContact.TYPE, seeded("d"), Random(7)))

    async def told() -> bool:
        return bool(received)

    await until(told)
    person = received[0]["data"]["person"]
    assert person["family_name"] == CANARY
    assert person["need_note"] == f"{CANARY} cherche"
    assert {"address", "project"}.isdisjoint(person)
    await runner.cleanup()
