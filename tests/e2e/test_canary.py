"""A name seeded in every free-text and identity field is found nowhere in clear.

Tables of both databases, every record of every topic of ours, every log line, every error: the
whole hub, one process per service, with Apache Kafka in between.
"""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import aiohttp.web
import asyncpg
import orjson
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from standardwebhooks import Webhook

from contracts.public import PublicAgreement, PublicContact, PublicFacts, PublicWithdrawal
from contracts.registry import SERVICES
from contracts.tools.examples import FRONT_DESK, agreement, envelope
from contracts.values import PartnerKind
from infra.platform import DATABASE
from infra.postgres.embedded import EmbeddedPostgres
from services.hub.demo.day import demo_environment, scaled_out
from services.hub.demo.kafka_broker import Broker
from services.hub.demo.processes import Hub
from tests.e2e.hubs import JOB, STRUCTURED, all_logged, cases, emit, rows, until

CANARY = "Zébulonneau"
PLAIN = "zebulonneau"  # where only ASCII may stand
BATCH = "application/cloudevents-batch+json"
MISSION_LOCALE = "petite-foret--mission-locale"
POISON = "ALTER TABLE referrals.cases ADD CONSTRAINT poison CHECK (person_id <> '{}') NOT VALID"


def in_base64(text: bytes) -> list[bytes]:
    """What is the same of a text's base64 whatever stands before and after it."""
    found = []
    for before, tainted in ((0, 0), (1, 2), (2, 3)):
        encoded = base64.b64encode(b"\0" * before + text).rstrip(b"=")
        found.append(encoded[tainted : -1 if (before + len(text)) % 3 else None])
    return found


FORMS = [
    form.lower()
    for text in (CANARY.encode(), CANARY.upper().encode(), PLAIN.encode())
    for form in (text, text.hex().encode(), *in_base64(text))
] + [rb"z\u00e9bulonneau", b"z%c3%a9bulonneau", "z\u00e9bulonneau".encode("latin-1")]


@dataclass
class Scene:
    """A scaled-out hub, and a partner of ours."""

    hub: Hub
    directory: Path
    bootstrap: str
    prefix: str
    received: list[dict[str, Any]] = field(default_factory=list)
    webhook: Webhook | None = None

    async def hook(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        """Take a message whose signature is right."""
        assert self.webhook is not None
        self.received.append(self.webhook.verify(await request.read(), dict(request.headers)))
        return aiohttp.web.Response(status=204)

    async def told(self, person: str) -> dict[str, Any]:
        """Wait for the request about a person; answers its data."""
        (case,) = await until(lambda: cases(self.hub, person))
        ids = {r["referral_id"] for r in case["referrals"]}

        async def found() -> Any:
            sent = [m["data"] for m in self.received if m["type"] == "referral.requested"]
            return next((d for d in sent if d["referral_id"] in ids), None)

        data: dict[str, Any] = await until(found)
        return data

    async def answer(self, data: dict[str, Any], **signed: Any) -> tuple[int, bytes]:
        """Answer a referral as its partner."""
        assert self.webhook is not None
        now, identifier = datetime.now(UTC), f"{PLAIN}-{token_hex(8)}"
        message = {"type": "referral.answered", "timestamp": now.isoformat(), "data": signed}
        body = orjson.dumps(message).decode()
        headers = {
            "webhook-id": identifier,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self.webhook.sign(identifier, now, body),
        }
        return await post(self.hub, data["answer_url"], body.encode(), headers)


async def post(
    hub: Hub, url: str, body: bytes, headers: dict[str, str], kind: str = "application/json"
) -> tuple[int, bytes]:
    """POST bytes; answers status and body."""
    given = {"content-type": kind} | headers
    async with hub.session.post(url, data=body, headers=given) as response:
        return response.status, await response.read()


@pytest.fixture(scope="module")
async def scene(broker: Broker) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        name = stack.enter_context(TemporaryDirectory(prefix="aiguillage-canary-"))
        directory, prefix = Path(name), f"canary-{token_hex(4)}."
        server = EmbeddedPostgres(directory)
        await asyncio.to_thread(server.start)
        stack.callback(server.stop)
        environment = demo_environment() | {
            "AIGUILLAGE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "AIGUILLAGE_TOPIC_PREFIX": prefix,
            "AIGUILLAGE_LOG_LEVEL": "DEBUG",
        }
        hub = await scaled_out(directory, server, environment)
        stack.push_async_callback(hub.stop)
        made = Scene(hub, directory, broker.bootstrap, prefix)
        app = aiohttp.web.Application()
        app.add_routes([aiohttp.web.post("/hook", made.hook)])
        runner = aiohttp.web.AppRunner(app, access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        endpoint = {"partner_id": MISSION_LOCALE, "service_ids": [], "url": url}
        _, answer = await hub.post("partners", "/v1/endpoints", "partner_admin", endpoint)
        made.webhook = Webhook(answer["secret"])
        yield made


def resident(ref: str) -> dict[str, Any]:
    """A person with the name wherever something personal may be said."""
    return {
        "ref": f"{ref} {CANARY}",
        "identity": {
            "family_name": CANARY, "given_name": CANARY, "phone": "+33612345678",
            "email": f"{PLAIN}@example.org", "address": f"1 rue {CANARY}",
        },
        "facts": {
            "birth_date": {"value": "2006-05-17"},
            "commune": {"value": "59459"},
            "situation": {"value": "job-seeker"},
            "project": {"value": f"devenir {CANARY}"},
        },
    }  # fmt: skip


def seeded(ref: str) -> dict[str, Any]:
    """A contact with the name wherever a person may write: in its envelope too."""
    data = {
        "mode": "walk-in",
        "person": resident(ref),
        "agreements": [agreement(kind) for kind in PartnerKind],
        "needs": [{"thematique": JOB, "note": f"{CANARY} cherche"}],
        "activities": [{"activity": "workshop", "label": f"atelier {CANARY}"}],
        "note": f"vu avec {CANARY}",
    }
    event = envelope(PublicContact.TYPE, data, Random(ref), f"{FRONT_DESK}/{PLAIN}")
    return event | {"id": f"{ref} {CANARY}", "subject": CANARY, "referent": CANARY}


def binary(event: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """The same event in binary mode."""
    names = ("specversion", "source", "type")
    headers = {f"ce-{name}": event[name] for name in names}
    encoded = event["id"].replace("é", "%C3%A9").replace(" ", "%20")
    return orjson.dumps(event["data"]), headers | {"ce-id": encoded}


async def send_good(scene: Scene) -> list[str]:
    """Every public type, every mode, HTTP and Kafka; answers persons with a case."""
    hub, random = scene.hub, Random(5)
    url = hub.address["intake"] + "/v1/events"
    key = {"authorization": f"Bearer {hub.address['keys']['municipal']}"}
    persons = [(await emit(hub, seeded("structured")))["person_id"]]
    _, many = await hub.post("intake", "/v1/events", "municipal", [seeded("batch")], BATCH)
    persons.append(many["results"][0]["receipt"]["person_id"])
    body, headers = binary(seeded("binary"))
    status, answer = await post(hub, url, body, headers | key)
    assert status == 202, answer
    persons.append(orjson.loads(answer)["person_id"])
    for model, said in (
        (PublicFacts, {"person": resident("facts")}),
        (
            PublicAgreement,
            {"person": resident("agrees"), "agreement": agreement(PartnerKind.PLIE)},
        ),
        (PublicWithdrawal, {"person": resident("agrees")}),
    ):
        await emit(hub, envelope(model.TYPE, said, random))
    return persons


async def produce(scene: Scene) -> None:
    """A good and two bad records on the public topic, as a municipal system would."""
    records = (orjson.dumps(seeded("kafka")), f"{{{CANARY}".encode(), CANARY.encode())
    producer = AIOKafkaProducer(bootstrap_servers=scene.bootstrap)
    await producer.start()
    try:
        for value in records:
            await producer.send_and_wait(
                f"{scene.prefix}municipal", value, key=CANARY.encode(),
                headers=[("content-type", STRUCTURED.encode()), ("nom", CANARY.encode())],
            )  # fmt: skip
    finally:
        await producer.stop()
    refused = "SELECT 1 FROM intake.refused_records"

    async def kept() -> bool:
        return len(await rows(scene.hub, refused)) == 2

    await until(kept)


async def send_bad(hub: Hub) -> list[bytes]:
    """Bad events that bear the name in wrong places; answers what was said of them."""
    good, said = seeded("bad"), []
    data = good["data"]
    bad: list[tuple[dict[str, Any], int]] = [
        (good | {"type": f"fr.{CANARY}"}, 422),
        (good | {"specversion": CANARY}, 422),
        (good | {"time": CANARY}, 422),
        (good | {"source": f"{CANARY} {CANARY}"}, 422),
        (good | {"id": f"{CANARY}\n"}, 422),
        (good | {CANARY: CANARY}, 422),
        (good | {"datacontenttype": CANARY}, 422),
        (good | {"data": CANARY}, 422),
        (good | {"data": data | {"mode": CANARY}}, 422),
        (good | {"data": data | {"site": CANARY}}, 422),
        (good | {"data": data | {"needs": [{"thematique": CANARY}]}}, 422),
        (good | {"data": data | {"note": f"{CANARY} 1 85 05 59 459 084 36"}}, 422),
        (good | {"data": data | {"person": resident("x") | {"person_id": CANARY}}}, 422),
        (seeded("structured") | {"data": data}, 409),
    ]
    for event, expected in bad:
        status, problem = await hub.post("intake", "/v1/events", "municipal", event, STRUCTURED)
        assert status == expected, problem
        said.append(orjson.dumps(problem))
    _, answer = await hub.post(
        "intake", "/v1/events", "municipal", [event for event, _ in bad], BATCH
    )
    said.append(orjson.dumps(answer))
    # the sender is told its unknown field's name, and nobody else is
    unknown = good | {"data": data | {CANARY: CANARY}}
    status, _ = await hub.post("intake", "/v1/events", "municipal", unknown, STRUCTURED)
    assert status == 422
    return said + await send_broken(hub)


async def send_broken(hub: Hub) -> list[bytes]:
    """Requests that are no event at all, by known and unknown callers, here and there."""
    said, keys = [], hub.address["keys"]
    known = {"authorization": f"Bearer {keys['municipal']}", "traceparent": PLAIN}
    adviser = {"authorization": f"Bearer {keys['adviser']}"}
    events = hub.address["intake"] + "/v1/events"
    broken = f'{{"name": "{CANARY}'.encode()
    for url, body, headers, kind, expected in (
        (events, broken, known, STRUCTURED, 400),
        (events, CANARY.encode("latin-1"), known, STRUCTURED, 400),
        (events, broken, known, f"text/{PLAIN}", 415),
        (events, broken, {"authorization": f"Bearer {PLAIN}"}, STRUCTURED, 401),
        (events, broken * 20_000, known, STRUCTURED, 413),
        (hub.address["partners"] + "/v1/answers", broken, {}, "application/json", 400),
        (hub.address["partners"] + "/v1/endpoints", broken, adviser, "application/json", 400),
        (hub.address["referrals"] + f"/v1/referrals/{PLAIN}/cancel", b"{}", adviser,
         "application/json", 422),
        (hub.address["referrals"] + f"/v1/{PLAIN}", b"{}", adviser, "application/json", 404),
    ):  # fmt: skip
        status, problem = await post(hub, url, body, headers, kind)
        assert status == expected, (url, problem)
        said.append(problem)
    return said


async def answers(scene: Scene, data: dict[str, Any]) -> list[bytes]:
    """What the partner writes, rightly and wrongly; answers what was said of the latter."""
    refused, referral = [], {"referral_id": data["referral_id"]}
    written = {"comment": f"{CANARY} est venu", "partner_reference": f"D-{CANARY}"}
    for wrong in (
        {"status": CANARY},
        {"status": "completed", "outcome": CANARY},
        {"status": "rejected", "reason": CANARY},
        {"status": "accepted", "appointment_at": CANARY},
        {"status": "accepted", "comment": f"{CANARY} 1 85 05 59 459 084 36"},
    ):
        status, problem = await scene.answer(data, **referral, **wrong)
        assert status == 422, problem
        refused.append(problem)
    status, problem = await post(
        scene.hub, data["answer_url"], orjson.dumps({"data": referral | written}), {}
    )
    assert status == 401
    refused.append(problem)
    status, answer = await scene.answer(data, **referral, status="accepted", **written)
    assert status == 202, answer
    return [*refused, answer]


async def poison(hub: Hub, person: str) -> None:
    """Have something of the person parked."""
    await rows(hub, POISON.format(person))
    event = seeded("parked")
    event["data"]["person"] = {"person_id": person}
    await emit(hub, event)

    async def parked() -> bool:
        return bool(await rows(hub, "SELECT 1 FROM referrals.dead_letters"))

    await until(parked)


async def table_texts(url: str) -> list[bytes]:
    """Every row of every table of ours, as text (bytea as hex)."""
    connection, found = await asyncpg.connect(url), []
    tables = await connection.fetch(
        "SELECT schemaname, tablename FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    for schema, table in tables:
        for row in await connection.fetch(f"SELECT t::text AS t FROM {schema}.{table} AS t"):
            found.append(f"{schema}.{table} {row['t']}".encode())
    await connection.close()
    return found


async def topic_texts(scene: Scene) -> dict[str, list[bytes]]:
    """Topic → every key, value and header of its records."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=scene.bootstrap, auto_offset_reset="earliest", group_id=None
    )
    await consumer.start()
    try:
        ours = {t for t in await consumer.topics() if t.startswith(scene.prefix)}
        found: dict[str, list[bytes]] = {topic: [] for topic in ours}
        consumer.subscribe(list(ours))
        while records := await consumer.getmany(timeout_ms=3000):
            for record in (record for part in records.values() for record in part):
                texts = found[record.topic]
                texts += [record.key, record.value]
                texts += [name.encode() + b" " + text for name, text in record.headers]
    finally:
        await consumer.stop()
    return found


def bears_name(text: bytes) -> bool:
    """Whether the name stands in a text, in any writing of it."""
    lower = text.lower()
    return any(form in lower for form in FORMS)


@pytest.mark.kafka
async def test_name_is_told_to_the_partner_and_found_nowhere_else_in_clear(scene: Scene):
    hub = scene.hub
    persons = await send_good(scene)
    requests = [await scene.told(person) for person in persons]
    for data in requests:
        assert data["person"]["family_name"] == CANARY
        assert data["person"]["need_note"] == f"{CANARY} cherche"
        assert {"address", "project"}.isdisjoint(data["person"])
        assert PLAIN not in data["answer_url"]
    said = await send_bad(hub)
    said += await answers(scene, requests[0])
    await produce(scene)
    await poison(hub, persons[1])
    await all_logged(hub)

    url = hub.address["database_url"]
    seen = await table_texts(url) + await table_texts(
        url.replace(DATABASE, f"{DATABASE}_vault", 1)
    )
    topics = await topic_texts(scene)
    public = topics.pop(f"{scene.prefix}municipal")
    assert any(map(bears_name, public))  # we would see it
    assert set(topics) == {scene.prefix + service for service in SERVICES}
    records = [text for texts in topics.values() for text in texts]
    logs = [path.read_bytes() for path in scene.directory.rglob("*.log")]
    for table in ("intake.refused_records", "referrals.dead_letters", "partners.deliveries"):
        assert any(text.startswith(table.encode()) for text in seen)
    assert any(text.startswith(b"vault.") for text in seen)
    assert len(records) > 100
    assert any(b"batch failed" in log for log in logs)
    for text in (*seen, *records, *logs, *said):
        assert not bears_name(text), text[:300]
