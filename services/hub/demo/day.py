"""A day at Petite-Forêt, run for real: three systems, partners, and a log that proves."""

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from contracts.public import PublicContact
from contracts.tools.examples import CCAS, FRONT_DESK, LIBRARY, agreement, envelope, person
from contracts.values import PartnerKind
from infra.base import data_directory
from infra.base.settings import Settings
from infra.platform import DATABASE, Platform
from infra.postgres.database import vault_url
from infra.postgres.embedded import EmbeddedPostgres
from infra.postgres.migrations import migrate
from infra.tlog.verify.remote import verify_remote
from services.audit.handlers.signing import vkey
from services.hub.demo.kafka_broker import obtain_broker
from services.hub.demo.processes import Child, Hub, embedded_hub, scaled_hub
from services.hub.host import first_keys
from services.hub.operations.hub import count_services
from services.partners.handlers.directory import seed

console = Console(stderr=True)
QUIET_SECONDS = 180
BATCH = "application/cloudevents-batch+json"
PARTNERS = {  # simulated partner → how it behaves
    "mission-locale": "accept",
    "france-travail": "refuse",
    "plie": "silent",
    "training-body": "study",
}
DAY: tuple[tuple[str, str, str], ...] = (  # system, thématique, situation
    (FRONT_DESK, "trouver-un-emploi--repondre-a-des-offres-demploi", "young"),
    (FRONT_DESK, "se-former--trouver-sa-formation", "adult"),
    (FRONT_DESK, "numerique--maitriser-les-fondamentaux-du-numerique", "adult"),
    (CCAS, "trouver-un-emploi--repondre-a-des-offres-demploi", "rsa"),
    (CCAS, "trouver-un-emploi--repondre-a-des-offres-demploi", "adult"),
    (
        LIBRARY,
        "preparer-sa-candidature--realiser-un-cv-et-ou-une-lettre-de-motivation",
        "young",
    ),
    (LIBRARY, "numerique--acceder-a-des-services-en-ligne", "adult"),
    (LIBRARY, "choisir-un-metier--decouvrir-un-metier-ou-un-secteur-dactivite", "young"),
)
ROUNDS = 3
Outcome = dict[str, Any]


async def run_demo(*, kafka: bool) -> int:
    """Run the day (twice with Kafka: embedded, then scaled out, compared); 0 if all held."""
    with tempfile.TemporaryDirectory(prefix="aiguillage-demo-") as directory:
        embedded, held = await _day(_embedded(Path(directory) / "embedded"), "embedded log")
        if kafka:
            scaled, also = await _day(_scaled(Path(directory) / "kafka"), "Kafka")
            same = scaled == embedded
            _say(same, "same pathways and states as the embedded run")
            held = held and also and same
    console.print(
        "[bold green]All of it held.[/]" if held else "[bold red]Something failed.[/]"
    )
    return 0 if held else 1


def _say(ok: bool, text: str) -> None:
    console.print(f"  [{'green]✓' if ok else 'red]✗'}[/] {text}")


async def _day(starting: Any, name: str) -> tuple[Outcome, bool]:
    started = time.monotonic()
    async with starting as hub, simulators(hub) as partners:
        _say(True, f"hub on {name}, up in {time.monotonic() - started:.1f} s")
        persons = await send_day(hub)
        _say(True, f"{len(persons)} contacts from three systems accepted")
        await settle(hub, partners)
        outcome = await pathways(hub, persons)
        stats = await counts(partners)

        person_id = next(iter(persons.values()))
        pathway = await hub.get("audit", f"/v1/persons/{person_id}/pathway", "auditor")
        title = f"Parcours {person_id[:8]}…"
        table = Table("n°", "quand", "quoi", "qui", title=title, box=None)
        for item in pathway["timeline"]:
            when = item["time"][11:19]
            table.add_row(str(item["idx"]), when, item["sentence"], item["actor"])
        console.print(table)

        held = _judge(outcome, stats)
        verdict = await verify_remote(
            hub.address["audit"], hub.address["keys"]["auditor"], [hub.address["vkey"]]
        )
        _say(verdict.exit_code == 0, f"log: {verdict}")
    return outcome, held and verdict.exit_code == 0


def _judge(outcome: Outcome, stats: dict[str, Any]) -> bool:
    last = [moves[-1] for case in outcome.values() for moves in case["referrals"].values()]
    states = Counter(last)
    verified = sum(s["verified"] for s in stats.values())
    forged = sum(s["forged"] for s in stats.values())
    shown = ", ".join(f"{n} {state}" for state, n in sorted(states.items()))
    _say(bool(states["completed"] and states["rejected"] and states["requested"]), shown)
    _say(
        verified > 0 and forged == 0, f"{verified} webhooks verified by partners, {forged} not"
    )
    refused = sum(s["refused"] for s in stats.values())
    taken = sum(s["answers"] for s in stats.values())
    _say(refused == 0, f"{taken} signed answers taken, {refused} refused")
    return bool(states["completed"] and states["rejected"]) and verified > 0 and refused == 0


# --- the day ------------------------------------------------------------------------------


def contacts(random: Random) -> list[tuple[str, dict[str, Any]]]:
    """(reference of the person, CloudEvent) of the whole day; the same for the same seed."""
    day = []
    for round_number in range(ROUNDS):
        for number, (system, thematique, profile) in enumerate(DAY):
            resident = _resident(random, profile)
            resident["ref"] = f"demo-{round_number}-{number}"
            data = {
                "mode": "walk-in",
                "person": resident,
                "information": {"notice": "accueil", "version": "2026-01"},
                "agreements": [agreement(kind) for kind in PartnerKind],
                "needs": [{"thematique": thematique}],
            }
            event = envelope(PublicContact.TYPE, data, random, system)
            day.append((resident["ref"], event))
    return day


def _resident(random: Random, profile: str) -> dict[str, Any]:
    resident = person(random)
    born = {"young": "2006-05-17", "adult": "1984-02-03", "rsa": "1979-09-30"}[profile]
    resident["facts"] |= {
        "birth_date": {"value": born, "source": "document"},
        "situation": {"value": "job-seeker"},
        "study_level": {"value": "bac"},
        "minimum_benefit": {"value": "rsa" if profile == "rsa" else "none"},
    }
    return resident


async def send_day(hub: Hub) -> dict[str, str]:
    """Emit every contact, each system in its own batch; return person_id by reference."""
    persons: dict[str, str] = {}
    day = contacts(Random(59459))
    for system in (FRONT_DESK, CCAS, LIBRARY):
        mine = [(ref, event) for ref, event in day if event["source"] == system]
        events = [event for _, event in mine]
        _, answer = await hub.post("intake", "/v1/events", "municipal", events, BATCH)
        for (ref, _), result in zip(mine, answer["results"], strict=True):
            persons[ref] = result["receipt"]["person_id"]
    return persons


async def settle(hub: Hub, partners: dict[str, str]) -> None:
    """Confirm drafts as the adviser would, until nothing moves any more."""
    before: Any = None
    async with asyncio.timeout(QUIET_SECONDS):
        while True:
            cases = (await hub.get("referrals", "/v1/cases", "adviser", limit=500))["cases"]
            drafts = [r for c in cases for r in c["referrals"] if r["status"] == "draft"]
            for draft in drafts:
                path = f"/v1/referrals/{draft['referral_id']}/confirm"
                await hub.post("referrals", path, "adviser", {})
            now = await _picture(hub, cases, partners)
            if not drafts and now == before and now["idle"] and len(cases) == len(DAY) * ROUNDS:
                return
            before = now
            await asyncio.sleep(0.7)


async def _picture(hub: Hub, cases: Any, partners: dict[str, str]) -> dict[str, Any]:
    states = sorted(f"{r['referral_id']} {r['status']}" for c in cases for r in c["referrals"])
    pending = await hub.get("partners", "/v1/deliveries", "partner_admin", state="pending")
    stats = await counts(partners)
    async with hub.session.get(hub.address["audit"] + "/v1/log") as response:
        size = (await response.json())["size"]
    idle = not pending["deliveries"] and not any(s["busy"] for s in stats.values())
    return {"states": states, "idle": idle, "size": size, "stats": stats}


async def pathways(hub: Hub, persons: dict[str, str]) -> Outcome:
    """Return what happened to each person, without ids and times, to compare runs."""
    outcome: Outcome = {}
    for ref, person_id in persons.items():
        path = f"/v1/persons/{person_id}/pathway"
        pathway = await hub.get("audit", path, "auditor")
        outcome[ref] = _story(pathway["timeline"])
    return outcome


def _story(items: list[dict[str, Any]]) -> dict[str, Any]:
    service_of, moves, case = {}, {}, []
    for item in items:
        data, name = item["data"], item["type"].removeprefix("fr.aiguillage.")
        if name.startswith("referrals.referral.proposed"):
            service_of[data["referral_id"]] = data["service_id"]
            moves[data["service_id"]] = ["draft"]
        elif name.startswith("referrals.referral.requested"):
            moves[service_of[data["referral_id"]]].append("requested")
        elif (
            "referral_id" in data and "status" in data and name.startswith("referrals.referral")
        ):
            moves[service_of[data["referral_id"]]].append(data["status"])
        elif name.startswith("referrals.case"):
            case.append(f"{name} {data.get('status', '')}{data.get('reason', '')}")
    return {"case": case, "referrals": moves}


async def counts(partners: dict[str, str]) -> dict[str, Any]:
    """Return what each simulated partner saw."""
    stats = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        for name, url in partners.items():
            async with session.get(f"{url}/stats") as response:
                stats[name] = await response.json()
    return stats


# --- what it runs on ----------------------------------------------------------------------


@asynccontextmanager
async def simulators(hub: Hub) -> AsyncIterator[dict[str, str]]:
    """One process per simulated partner, registered with the hub; yield URL by name."""
    services = (await hub.get("partners", "/v1/services", "partner_admin"))["services"]
    log = hub.children[min(hub.children)].log.with_name("partners-simulated.log")
    children, urls = [], {}
    try:
        for kind, behaviour in PARTNERS.items():
            mine = [s for s in services if s["kind"] == kind]
            child, urls[kind] = await _simulator(hub, kind, behaviour, mine, log)
            children.append(child)
        yield urls
    finally:
        await asyncio.gather(*(child.kill() for child in children))


async def _simulator(
    hub: Hub, kind: str, behaviour: str, services: list[Any], log: Path
) -> tuple[Child, str]:
    child = Child(
        kind, ["-m", "services.hub.demo.partner_simulator", "--behaviour", behaviour], log
    )
    url = f"http://127.0.0.1:{await child.start()}"
    body = {
        "partner_id": services[0]["partner_id"],
        "service_ids": [s["service_id"] for s in services],
        "url": f"{url}/hook",
    }
    status, answer = await hub.post("partners", "/v1/endpoints", "partner_admin", body)
    if status not in (200, 201):
        raise RuntimeError(f"endpoint of {kind} refused: {answer.get('title')}")
    await child.say(answer["secret"])
    return child, url


@asynccontextmanager
async def _embedded(directory: Path) -> AsyncIterator[Hub]:
    directory.mkdir(parents=True)
    hub = await embedded_hub(directory, demo_environment())
    try:
        yield hub
    finally:
        await hub.stop()


@asynccontextmanager
async def _scaled(directory: Path) -> AsyncIterator[Hub]:
    directory.mkdir(parents=True)
    async with AsyncExitStack() as stack:
        broker = await asyncio.to_thread(obtain_broker, directory / "broker")
        stack.callback(broker.stop)
        _say(True, f"Apache Kafka ({broker.kind}) at {broker.bootstrap}")
        server = EmbeddedPostgres(directory)
        await asyncio.to_thread(server.start)
        stack.callback(server.stop)
        environment = demo_environment() | {
            "AIGUILLAGE_KAFKA_BOOTSTRAP": broker.bootstrap,
            "AIGUILLAGE_TOPIC_PREFIX": f"demo-{os.getpid()}.",
        }
        hub = await scaled_out(directory, server, environment)
        stack.push_async_callback(hub.stop)
        yield hub


async def scaled_out(
    directory: Path, server: EmbeddedPostgres, environment: dict[str, str]
) -> Hub:
    """Migrate, make keys, load the directory, then start one process per service."""
    url = server.url(DATABASE)
    address = await prepare(directory, url)
    hub = await scaled_hub(directory, environment | {"AIGUILLAGE_DATABASE_URL": url}, address)
    try:
        await directory_known(hub)
    except BaseException:
        await hub.stop()
        raise
    return hub


async def prepare(directory: Path, url: str) -> dict[str, Any]:
    """Make what services need before they can work; return how to reach it."""
    data_directory.create(directory)
    await migrate(url, vault_url(url))
    platform = Platform(Settings(data=directory), url, vault_url(url))
    keys = await first_keys(platform)
    await seed(platform, platform.settings.seed)
    await platform.close()
    return {"keys": keys, "vkey": vkey(platform.settings), "database_url": url}


async def directory_known(hub: Hub) -> None:
    """Wait until all serve and the router has the whole directory, which comes by Kafka too."""
    await hub.opened()
    services = (await hub.get("partners", "/v1/services", "partner_admin"))["services"]
    async with asyncio.timeout(QUIET_SECONDS):
        while await count_services(hub.address["database_url"]) < len(services):
            await asyncio.sleep(0.2)


def demo_environment() -> dict[str, str]:
    """Settings of a demonstration: loopback partners, short retries."""
    return {
        "AIGUILLAGE_DELIVERY_ALLOWED_NETWORKS": "127.0.0.0/8,::1/128",
        "AIGUILLAGE_DELIVERY_SCHEDULE": "1,1,2,2,5,5,10,10,10,10",
        "AIGUILLAGE_LOG_LEVEL": "WARNING",
    }
