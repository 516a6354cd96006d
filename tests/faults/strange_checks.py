"""What must hold after the strangers: every effect there, nothing else, everybody alive."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer

from contracts.registry import SERVICES
from infra.messaging.kafka_client import close
from infra.messaging.sources.base import FOREIGN, UNREADABLE
from infra.platform import DATABASE
from infra.tlog.verify.remote import verify_remote
from infra.workers.alarms import PARKED
from services.hub.operations.hub import count_services
from tests.e2e.hubs import STRUCTURED
from tests.e2e.test_canary import bears_name, table_texts
from tests.faults.campaign import quiet
from tests.faults.strange_events import structured
from tests.faults.strange_scene import Scene

QUIET_SECONDS = 300
MORE_MEMORY = 1.5
PATHWAYS = 20
"""So many persons' whole pathways are asked for, beside everybody's cases."""
ALARMS = {FOREIGN, PARKED, UNREADABLE}
"""Those that forged and unreadable records must raise."""
FORGED = ("without a code of this hub", "its code is not this hub's, or of another place")
EFFECTS = {
    "contacts": "SELECT data->>'contact_id' FROM intake.events "
    "WHERE type LIKE '%.contact.recorded.v1'",
    "cases": "SELECT case_id::text FROM referrals.cases",
    "answers": "SELECT data->>'answer_id' FROM partners.events "
    "WHERE type LIKE '%.answer.received.v1'",
    "answers that moved a referral, or were told of as refused": "SELECT DISTINCT "
    "data->>'answer_id' FROM referrals.events WHERE data->>'answer_id' IS NOT NULL",
}
NOT_LOGGED = (
    "SELECT count(*) FROM {0}.events e WHERE NOT EXISTS "
    "(SELECT FROM audit.entries a WHERE a.event_id = e.event_id)"
)
DISABLED = "SELECT url FROM partners.endpoints WHERE state <> 'active'"


async def judge(scene: Scene) -> None:
    """Wait until all is read, then look at everything."""
    started = time.monotonic()
    scene.say("the strangers have left; waiting until all is read")
    await quiet(scene.hub, {}, scene.result)
    await _nothing_unread(scene)
    scene.say("all is read; judging")
    scene.result.figures["seconds until quiet"] = round(time.monotonic() - started)
    database = await asyncpg.connect(scene.hub.address["database_url"])
    try:
        await _effects(scene, database)
        await _produced(scene, database)
        await _parked(scene, database)
        await _logged(scene, database)
    finally:
        await database.close()
    await _pathways(scene)
    await _health(scene)
    _files(scene)
    _memory(scene)
    await _told_nowhere(scene)
    scene.result.figures |= {"sent and answered": dict(sorted(scene.counts.items()))}


async def _nothing_unread(scene: Scene) -> None:
    """Whatever each process reads from the broker, it has read to its end."""
    unread: dict[str, Any] = {}
    for _ in range(QUIET_SECONDS):
        ready = await scene.readiness()
        lags = {name: said.get("lag", {}) for name, said in ready.items()}
        unread = {
            f"{n} {s}": lag for n, of in lags.items() for s, lag in of.items() if lag != 0
        }
        if not unread:
            return
        await asyncio.sleep(1)
    scene.wrong(f"still unread after {QUIET_SECONDS} s: {unread}")


async def _effects(scene: Scene, database: Any) -> None:
    """Each accepted contact with its cases; each accepted answer, here and there."""
    found = {name: {r[0] for r in await database.fetch(q)} for name, q in EFFECTS.items()}
    receipts = scene.contacts.values()
    contacts = {r["contact_id"] for r in receipts}
    cases = {need["case_id"] for r in receipts for need in r["needs"]}
    heard, moved = found["answers"], found[list(EFFECTS)[-1]]
    for what, missing in (
        ("accepted contacts without their event", contacts - found["contacts"]),
        ("needs of accepted contacts without a case", cases - found["cases"]),
        ("accepted answers without their event", scene.answers.keys() - heard),
        ("answers that nobody was told of", heard - moved),
    ):
        if missing:
            scene.wrong(f"{what}: {len(missing)}, e.g. {sorted(missing)[0]}")
    scene.result.figures |= {"contacts": len(contacts), "cases": len(found["cases"])}
    scene.result.figures |= {"answers": len(heard), "signed answers": len(scene.answers)}
    if disabled := await database.fetch(DISABLED):
        scene.wrong("endpoints that answered well were disabled", [r["url"] for r in disabled])
    services = await scene.hub.get("partners", "/v1/services", "partner_admin", limit=500)
    known = await count_services(scene.hub.address["database_url"])
    scene.result.figures["services"] = known
    if known < len(services["services"]):
        scene.wrong(f"the router knows {known} of {len(services['services'])} services")


async def _produced(scene: Scene, database: Any) -> None:
    """Sound records were taken (sent again, they are repeats), all others refused."""
    ended = datetime.now(UTC)
    url = scene.hub.address["intake"] + "/v1/events"
    media = {"content-type": STRUCTURED}
    for event in scene.produced:
        status, said = await scene.ask(
            "repeats", url, structured(event), headers=media, role="municipal"
        )
        receipt = orjson.loads(said) if status == 202 else {}
        if status != 202 or datetime.fromisoformat(receipt["recorded_at"]) > ended:
            scene.wrong(f"a sound record had no effect ({status} {said[:200]!r})", event)
    refused = await database.fetch(
        'SELECT partition, "offset", reason FROM intake.refused_records'
    )
    places = {(r["partition"], r["offset"]) for r in refused}
    if taken := {w for place, w in scene.unsound.items() if place not in places}:
        scene.wrong(f"records that were not refused: {sorted(taken)}")
    if more := [dict(r) for r in refused if (r["partition"], r["offset"]) not in scene.unsound]:
        scene.wrong(f"{len(more)} sound records were refused, e.g. {more[0]}")
    scene.result.figures |= {"records taken": len(scene.produced), "refused": len(refused)}


async def _parked(scene: Scene, database: Any) -> None:
    """Nothing but forged and unreadable records, by reason."""
    found = {}
    for service in SERVICES:
        rows = await database.fetch(
            f"SELECT subscription, error, count(*) FROM {service}.dead_letters GROUP BY 1, 2"
        )
        for subscription, error, count in rows:
            found[f"{service} {subscription}: {error}"] = count
            unreadable = (service, subscription) == ("intake", "public")
            if not unreadable and error not in FORGED:
                scene.wrong(f"parked, {count} times: {service} {subscription}: {error}")
            elif unreadable and count > scene.unreadable:
                scene.wrong(f"{count} unreadable records of {scene.unreadable}: {error}")
    scene.result.figures |= {"parked": found, "forged": scene.forged}


async def _logged(scene: Scene, database: Any) -> None:
    """Every event is in the log, once, and the log verifies."""
    for service in SERVICES:
        if lost := await database.fetchval(NOT_LOGGED.format(service)):
            scene.wrong(f"{service}: {lost} events not in the log")
    entries, events = await database.fetchrow(
        "SELECT count(*), count(DISTINCT event_id) FROM audit.entries"
    )
    if entries != events:
        scene.wrong(f"{entries - events} events in the log twice")
    scene.result.figures["log"] = entries
    address = scene.hub.address
    verdict = await verify_remote(
        address["audit"], address["keys"]["auditor"], [address["vkey"]]
    )
    if verdict.exit_code:
        scene.wrong(str(verdict))


async def _pathways(scene: Scene) -> None:
    """The contact and its needs stand in the person's pathway, as replayed from the log."""
    receipts = list(scene.contacts.values())
    for receipt in Random(len(receipts)).sample(receipts, min(PATHWAYS, len(receipts))):
        path = f"/v1/persons/{receipt['person_id']}/pathway"
        said = orjson.dumps(await scene.hub.get("audit", path, "auditor")).decode()
        cases = [need["case_id"] for need in receipt["needs"]]
        if missing := [i for i in (receipt["contact_id"], *cases) if i not in said]:
            scene.wrong(f"a pathway without {missing}")


async def _health(scene: Scene) -> None:
    """Everybody lives and is ready; no alarm but those about forged and unreadable records."""
    seen = set()
    for name, said in (await scene.readiness()).items():
        if said["status"] != 200 or not said.get("ready"):
            scene.wrong(f"{name} is not ready: {said}")
        for alarm in said.get("alarms", ()):
            seen.add((name, alarm["kind"]))
            if alarm["kind"] not in ALARMS:
                scene.wrong(f"alarm of {name}: {alarm}")
    if scene.forged and not any(kind == FOREIGN for _, kind in seen):
        scene.wrong("no alarm tells of the forged records")
    scene.result.figures["alarms"] = sorted(f"{name} {kind}" for name, kind in seen)
    for name, child in scene.hub.children.items():
        if child.process is None or child.process.returncode is not None:
            scene.wrong(f"{name} is dead: {child.log.read_text(errors='replace')[-500:]}")


def _files(scene: Scene) -> None:
    """What was laid down was taken or put aside, whatever it was."""
    left = [name for name in scene.files.files("answers") if name.lower().endswith(".csv")]
    if left:
        scene.wrong(f"files that nobody took: {left}")
    scene.result.figures["files taken"] = len(scene.files.files("answers/taken"))
    scene.result.figures["files refused"] = len(scene.files.files("answers/refused"))


def _memory(scene: Scene) -> None:
    """The hub as a whole, against what it took once it had seen everything."""
    warm, end = (
        sum(scene.result.figures[f"MiB, {when}"].values()) for when in ("warm", "at the end")
    )
    now = sum(scene.memory().values())
    if max(end, now) > MORE_MEMORY * warm:
        scene.wrong(f"memory grew from {warm} to {max(end, now)} MiB")


async def _told_nowhere(scene: Scene) -> None:
    """No name in clear: in no log, no table, no topic of ours."""
    url = scene.hub.address["database_url"]
    places = {
        "a log": [path.read_bytes() for path in _logs(scene.directory)],
        "a table": [
            *await table_texts(url),
            *await table_texts(url.replace(DATABASE, f"{DATABASE}_vault", 1)),
        ],
        "a topic": await _records(scene),
    }
    for place, texts in places.items():
        if told := [text for text in texts if bears_name(text)]:
            scene.wrong(f"a name in clear in {place}, {len(told)} times: {told[0][:200]!r}")
    scene.result.figures["texts without a name"] = sum(map(len, places.values()))


def _logs(directory: Path) -> list[Path]:
    """Of the hub's processes: those of the broker hold the public topic, which is in clear."""
    return [path for path in directory.glob("*.log") if path.is_file()]


async def _records(scene: Scene) -> list[bytes]:
    consumer = AIOKafkaConsumer(
        *(scene.prefix + service for service in SERVICES),
        bootstrap_servers=scene.bootstrap, auto_offset_reset="earliest",
    )  # fmt: skip
    await consumer.start()
    found: list[bytes] = []
    try:
        while records := await consumer.getmany(timeout_ms=3000):
            for record in (record for part in records.values() for record in part):
                found += [record.key or b"", record.value or b""]
                found += [name.encode() + b" " + (text or b"") for name, text in record.headers]
    finally:
        await close(consumer)
    return found
