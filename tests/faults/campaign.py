"""Kill processes at random while contacts flow in; then compare with an undisturbed run.

``python -m tests.faults.campaign --kind embedded --contacts 2000 --kills 50 --seed 7``
"""

import argparse
import asyncio
import contextlib
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import asyncpg

from contracts.public import PublicContact
from contracts.registry import SERVICES
from contracts.tools.examples import FRONT_DESK, agreement, envelope, person
from contracts.values import PartnerKind
from infra.postgres.embedded import EmbeddedPostgres
from infra.tlog.verify.remote import verify_remote
from services.hub.demo.day import counts, demo_environment, scaled_out, simulators
from services.hub.demo.kafka_broker import obtain_broker
from services.hub.demo.processes import Hub, embedded_hub

BATCH = "application/cloudevents-batch+json"
NEEDS = (
    "trouver-un-emploi--repondre-a-des-offres-demploi",
    "numerique--maitriser-les-fondamentaux-du-numerique",
    "choisir-un-metier--decouvrir-un-metier-ou-un-secteur-dactivite",
)
SEND_SECONDS = 600
QUIET_SECONDS = 300
SENDERS = 8


@dataclass
class Result:
    """What one run left behind, without ids and times."""

    stories: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def contacts(count: int, seed: int) -> list[dict[str, Any]]:
    """The same contacts for the same seed."""
    random = Random(seed)
    made = []
    for number in range(count):
        resident = person(random) | {"ref": f"fault-{number}"}
        resident["facts"] |= {
            "birth_date": {"value": f"{random.choice((2005, 2007, 1980))}-05-17"},
            "situation": {"value": "job-seeker"},
            "study_level": {"value": "bac"},
        }
        data = {
            "mode": "walk-in",
            "person": resident,
            "agreements": [
                agreement(PartnerKind.MISSION_LOCALE),
                agreement(PartnerKind.DIGITAL_SPACE),
                agreement(PartnerKind.INFORMATION_JEUNESSE),
            ],
            "needs": [{"thematique": NEEDS[number % len(NEEDS)]}],
        }
        made.append(envelope(PublicContact.TYPE, data, random, FRONT_DESK))
    return made


# --- hubs ---------------------------------------------------------------------------------


@asynccontextmanager
async def hub_of(
    kind: str, directory: Path, more: Mapping[str, str] | None = None
) -> AsyncIterator[Hub]:
    """A hub whose processes keep their ports when they are started again."""
    directory.mkdir(parents=True)
    environment = demo_environment() | {"AIGUILLAGE_STUCK_SECONDS": "120"} | dict(more or {})
    async with AsyncExitStack() as stack:
        if kind == "embedded":
            port = free_port()
            hub = await embedded_hub(directory, environment, port)
        else:
            hub = await _scaled(kind, directory, environment, stack)
        stack.push_async_callback(hub.stop)
        yield hub


async def _scaled(
    kind: str, directory: Path, environment: dict[str, str], stack: AsyncExitStack
) -> Hub:
    if kind == "kafka":
        broker = await asyncio.to_thread(obtain_broker, directory / "broker")
        stack.callback(broker.stop)
        environment |= {
            "AIGUILLAGE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "AIGUILLAGE_TOPIC_PREFIX": f"faults-{os.getpid()}-{directory.name}.",
        }
    server = EmbeddedPostgres(directory)
    await asyncio.to_thread(server.start)
    stack.callback(server.stop)
    hub = await scaled_out(directory, server, environment)
    for name, child in hub.children.items():  # from now on, the same port again
        port = hub.address[name].rsplit(":", 1)[1]
        child.arguments = [port if a == "0" else a for a in child.arguments]
    return hub


# --- one run ------------------------------------------------------------------------------


async def run(kind: str, directory: Path, count: int, kills: int, seed: int) -> Result:
    """One run: contacts flow in, ``kills`` processes are killed meanwhile."""
    result = Result()
    async with hub_of(kind, directory) as hub, simulators(hub) as partners:
        started = time.monotonic()
        stop = asyncio.Event()
        killer = asyncio.create_task(_kill(hub, kills, Random(seed), stop))
        persons = await _send_all(hub, contacts(count, seed), result)
        if not kills:
            stop.set()
        result.figures["kills"] = await killer
        await quiet(hub, partners, result)
        result.figures["seconds"] = round(time.monotonic() - started, 1)
        await check(hub, persons, result)
    return result


async def _kill(hub: Hub, kills: int, random: Random, stop: asyncio.Event) -> int:
    done = 0
    while done < kills and not stop.is_set():
        await asyncio.sleep(random.uniform(0.1, 1.2))
        child = hub.children[random.choice(sorted(hub.children))]
        await child.kill()
        await asyncio.sleep(random.uniform(0, 0.3))
        await child.start()
        done += 1
    return done


async def _send_all(hub: Hub, events: list[dict[str, Any]], result: Result) -> dict[str, str]:
    persons: dict[str, str] = {}
    queue = list(enumerate(events))

    async def sender() -> None:
        while queue:
            number, event = queue.pop()
            receipt = await send(hub, event, result)
            persons[f"fault-{number}"] = receipt["person_id"]

    async with asyncio.timeout(SEND_SECONDS):
        await asyncio.gather(*(sender() for _ in range(SENDERS)))
    return persons


async def send(hub: Hub, event: dict[str, Any], result: Result) -> Any:
    """Send until it is accepted, as a municipal system would: the same event, again."""
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            status, receipt = await hub.post(
                "intake", "/v1/events", "municipal", event, "application/cloudevents+json"
            )
            if status == 202:
                return receipt
            if status < 500:
                result.problems.append(f"intake answered {status}: {receipt.get('type')}")
                raise SystemExit(result.problems[-1])
        await asyncio.sleep(0.05)


async def quiet(hub: Hub, partners: dict[str, str], result: Result) -> None:
    """Wait until all is read and nothing moves any more, as the databases see it."""
    before, same = None, 0
    database = await asyncpg.connect(hub.address["database_url"])
    try:
        async with asyncio.timeout(QUIET_SECONDS):
            while same < 3:
                now = await _counts(database)
                busy = any(s["busy"] for s in (await counts(partners)).values())
                same = same + 1 if now == before and now["idle"] and not busy else 0
                before = now
                await asyncio.sleep(0.5)
    except TimeoutError:
        result.problems.append(f"still moving after {QUIET_SECONDS} s: {before}")
    await database.close()


async def _counts(database: Any) -> dict[str, Any]:
    events = {s: await database.fetchval(f"SELECT count(*) FROM {s}.events") for s in SERVICES}
    logged = await database.fetchval("SELECT count(*) FROM audit.entries")
    pending = await database.fetchval(
        "SELECT count(*) FROM partners.deliveries WHERE state IN ('pending', 'leased')"
    )
    behind = sum([await _behind(database, service, events) for service in SERVICES])
    idle = logged == sum(events.values()) and pending == behind == 0
    return {**events, "logged": logged, "pending": pending, "behind": behind, "idle": idle}


async def _behind(database: Any, subscriber: str, events: dict[str, int]) -> int:
    """Subscriptions that have read less than there is: another member may yet take over."""
    rows = await database.fetch(
        f"SELECT source, sum(next) AS read FROM {subscriber}.offsets "
        "GROUP BY subscription, source"
    )
    return sum(
        row["read"] < count
        for row in rows
        for service, count in events.items()
        if row["source"].endswith(service)
    )


# --- what must hold -----------------------------------------------------------------------

CHECKS = {
    "contacts without their event, or doubled": (
        "SELECT abs((SELECT count(*) FROM intake.events WHERE type LIKE '%.contact.recorded.%')"
        " - $1::int)"
    ),
    "cases missing or doubled": "SELECT abs((SELECT count(*) FROM referrals.cases) - $1::int)",
    "proposals missing or doubled": (
        "SELECT abs((SELECT count(*) FROM referrals.events WHERE type LIKE '%.proposal.made.%')"
        " - $1::int)"
    ),
    "events in the log twice": (
        "SELECT count(*) - count(DISTINCT event_id) + 0 * $1::int FROM audit.entries"
    ),
    "disclosures not one per message": (
        "SELECT abs("
        "(SELECT count(*) FROM partners.events WHERE type LIKE '%.disclosure.made.%')"
        " - (SELECT count(*) FROM partners.deliveries WHERE endpoint_id IS NOT NULL "
        "AND message = 'referral.requested')) + 0 * $1::int"
    ),
    "deliveries recorded twice": (
        "SELECT count(*) + 0 * $1::int FROM (SELECT data->>'delivery_id' FROM partners.events "
        "WHERE type LIKE '%.delivery.succeeded.%' GROUP BY 1 HAVING count(*) > 1) AS twice"
    ),
    "answers applied twice or lost": (
        "SELECT abs("
        "(SELECT count(*) FROM partners.events WHERE type LIKE '%.answer.received.%')"
        " - (SELECT count(DISTINCT data->>'answer_id') FROM referrals.events "
        "WHERE data->>'answer_id' IS NOT NULL)) + 0 * $1::int"
    ),
    "parked messages": (
        "SELECT (SELECT count(*) FROM referrals.dead_letters) "
        "+ (SELECT count(*) FROM partners.dead_letters) "
        "+ (SELECT count(*) FROM audit.dead_letters) + 0 * $1::int"
    ),
    "log order broken within a stream": (
        "SELECT count(*) + 0 * $1::int FROM (SELECT version, row_number() OVER "
        "(PARTITION BY service, stream ORDER BY idx) AS n FROM audit.entries) AS e "
        "WHERE version <> n"
    ),
}


async def check(hub: Hub, persons: dict[str, str], result: Result) -> None:
    """Look for what was lost or doubled; ``persons`` is reference → id of all there are."""
    database = await asyncpg.connect(hub.address["database_url"])
    for what, query in CHECKS.items():
        if found := await database.fetchval(query, len(persons)):
            result.problems.append(f"{what}: {found}")
    for service in SERVICES:
        lost = await database.fetchval(
            f"SELECT count(*) FROM {service}.events e WHERE NOT EXISTS "
            "(SELECT 1 FROM audit.entries a WHERE a.event_id = e.event_id)"
        )
        if lost:
            result.problems.append(f"{service}: {lost} events not in the log")
    result.figures |= await _counts(database)
    by_person = {person_id: ref for ref, person_id in persons.items()}
    result.stories = await _stories(database, by_person)
    await database.close()
    keys = hub.address["keys"]
    verdict = await verify_remote(hub.address["audit"], keys["auditor"], [hub.address["vkey"]])
    if verdict.exit_code:
        result.problems.append(str(verdict))


async def _stories(database: Any, by_person: dict[str, str]) -> dict[str, Any]:
    """Per person: the case's state, and each referral's states in order."""
    stories: dict[str, Any] = {ref: {} for ref in by_person.values()}
    for row in await database.fetch("SELECT person_id, status, exhausted FROM referrals.cases"):
        stories[by_person[str(row["person_id"])]]["case"] = (row["status"], row["exhausted"])
    rows = await database.fetch(
        "SELECT r.person_id, r.service_id, r.status, array(SELECT split_part(e.type, '.', 5) "
        "FROM referrals.events e WHERE e.stream = 'referral-' || r.referral_id "
        "ORDER BY e.version) AS moves FROM referrals.referrals r"
    )
    for row in rows:
        story = stories[by_person[str(row["person_id"])]]
        story[row["service_id"]] = (row["status"], row["moves"])
    return stories


async def compare(kind: str, contacts: int, kills: int, seed: int) -> Result:
    """A disturbed run beside an undisturbed one; ``problems`` is empty if they are equal."""
    with tempfile.TemporaryDirectory(prefix="aiguillage-faults-") as directory:
        calm = await run(kind, Path(directory) / "calm", contacts, 0, seed)
        wild = await run(kind, Path(directory) / "wild", contacts, kills, seed)
    return beside(calm, wild)


def beside(calm: Result, wild: Result) -> Result:
    """The disturbed run, with what differs from the undisturbed one among its problems."""
    wild.problems += [f"undisturbed run: {problem}" for problem in calm.problems]
    differing = [ref for ref, story in calm.stories.items() if wild.stories.get(ref) != story]
    if differing:
        ref = differing[0]
        wild.problems.append(
            f"{len(differing)} persons differ, e.g. {ref}: {calm.stories[ref]} "
            f"became {wild.stories.get(ref)}"
        )
    return wild


def main() -> None:
    """Run the campaign; exit code 1 if anything did not hold."""
    parser = argparse.ArgumentParser()
    parser.add_argument(
        "--kind", choices=["embedded", "processes", "kafka"], default="embedded"
    )
    parser.add_argument("--contacts", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=Random().randrange(10**6))
    given = parser.parse_args()
    sys.stderr.write(f"{given.kind}: {given.kills} kills, seed {given.seed}\n")
    result = asyncio.run(compare(given.kind, given.contacts, given.kills, given.seed))
    sys.stderr.write(f"  {result.figures}\n")
    for problem in result.problems:
        sys.stderr.write(f"  ✗ {problem}\n")
    sys.stderr.write("  ✓ all held\n" if not result.problems else "")
    raise SystemExit(1 if result.problems else 0)


if __name__ == "__main__":
    main()
