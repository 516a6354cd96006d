"""Deliveries: signed, sent, every attempt recorded, with what they cost in CPU and statements.

The outbox holds the messages already; ten endpoints on loopback take them. Counted is all CPU
but the sink's: this process and PostgreSQL's.
"""

import asyncio
import resource
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from statistics import median
from typing import Any
from uuid import uuid4

import asyncpg
from sqlalchemy import event

from contracts.referrals import Disclosure, ReferralRequested
from contracts.values import PartnerKind, Thematique
from infra.base.settings import Settings
from infra.delivery.ssrf_guard import Guard, parse_networks
from infra.delivery.webhook.sender import Outgoing, Sender
from infra.delivery.webhook.signature import new_secret
from infra.delivery.worker import DeliveryWorker
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Pending
from infra.platform import Platform
from infra.postgres.database import vault_url
from infra.workers.event_loop import settle_memory
from services.partners.app import build, channel_context
from services.partners.channels.base import Address
from services.partners.channels.registry import Channels
from services.partners.handlers.directory import seed
from services.partners.handlers.endpoints import Endpoints
from tests.benchmarks.measure import ROUNDS, Bench, bench, report

COUNT, ENDPOINTS, BYTES = 20_000, 10, 650
PARTNER = "petite-foret--mission-locale"
SERVICE = f"{PARTNER}--accompagnement"
FIELDS = {
    "family_name": "Durand",
    "given_name": "Camille",
    "phone": "+33600000001",
    "email": "camille.durand@example.org",
    "birth_date": "2004-05-06",
    "commune": "59459",
    "situation": "job-seeker",
    "study_level": "bac",
    "need_note": "Cherche une formation",
}
LOOPBACK = "127.0.0.0/8"
WAIT_SECONDS = 120
POLL_SECONDS = 0.1
SINK = """
import asyncio
class Sink(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.seen = transport, b""
    def data_received(self, data):
        self.seen += data
        while (end := self.seen.find(b"\\r\\n\\r\\n")) >= 0:
            head = self.seen[:end].lower()
            at = head.index(b"content-length:") + 15
            size = end + 4 + int(head[at:].split(b"\\r\\n", 1)[0])
            if len(self.seen) < size:
                return
            self.seen = self.seen[size:]
            self.transport.write(b"HTTP/1.1 204 No Content\\r\\n\\r\\n")
class Hung(asyncio.Protocol):
    pass
async def main():
    loop = asyncio.get_running_loop()
    kinds = [Sink] * COUNT + [Hung] * HUNG
    servers = [await loop.create_server(kind, "127.0.0.1", 0) for kind in kinds]
    print(*[s.sockets[0].getsockname()[1] for s in servers], flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


async def drained() -> None:
    """deliveries: with what they cost, beside bare signed posts."""
    with _sinks(ENDPOINTS) as ports:
        async with bench() as where:
            found = await _drain(_platform(where), ports, COUNT)
        peer, peer_cpu = await _bare(ports, COUNT)
    report(
        "deliveries", found["rate"], "signed posts without records", peer, COUNT,
        unit="deliveries/s", bytes=found["bytes"],
    )  # fmt: skip
    report(
        "deliveries.cpu", found["per_cpu"], "signed posts without records", peer_cpu, COUNT,
        unit="deliveries/CPU-second", postgres_share=found["postgres_share"],
        statements_per_delivery=found["statements"], wal_bytes_per_delivery=found["wal"],
    )  # fmt: skip


async def hung() -> None:
    """deliveries.hung: 49 endpoints that take messages, beside one that hangs."""
    rates: dict[int, list[float]] = {0: [], 1: []}
    for silent in (0, 1) * ROUNDS:
        with _sinks(50 - silent, silent) as ports:
            async with bench() as where:
                found = await _drain(_platform(where), ports, COUNT, silent)
        rates[silent].append(found["rate"])
    report(
        "deliveries.hung", median(rates[1]), "without the hung one", median(rates[0]), ROUNDS,
        unit="deliveries/s",
    )  # fmt: skip


def _platform(where: Bench) -> Platform:
    settings = Settings(data=where.directory, delivery_allowed_networks=LOOPBACK)
    return Platform(settings, where.url, vault_url(where.url))


async def _drain(
    platform: Platform, ports: list[int], count: int, silent: int = 0
) -> dict[str, Any]:
    await seed(platform, "petite-foret")
    service = build(platform)
    try:
        await _endpoints(platform, ports)
        await _fill(platform, service, count)
        (worker,) = [w for w in service.workers if isinstance(w, DeliveryWorker)]
        return await _measured(service.database, worker, count, silent)
    finally:
        await service.database.close()
        await platform.close()


async def _endpoints(platform: Platform, ports: list[int]) -> None:
    database = platform.database("partners")
    channels = Channels(channel_context(platform.settings, platform.clock))
    endpoints = Endpoints(database, platform.writer("partners"), platform.clock, channels)
    for port in ports:
        address = Address(PARTNER, [SERVICE], f"http://127.0.0.1:{port}/hook")
        await endpoints.register(address, EventMetadata())
    async with database.transaction() as tx:
        await tx.execute("UPDATE endpoints SET verified_at = now()")
    await database.close()


async def _fill(platform: Platform, service: Any, count: int) -> None:
    referrals, writer = platform.database("referrals"), platform.writer("referrals")
    for start in range(0, count, 1000):
        pending = [_requested() for _ in range(start, min(count, start + 1000))]
        async with referrals.transaction() as tx:
            await writer.write(tx, pending, new_persons=True)
    (subscription,) = [w for w in service.workers if w.name == "deliveries"]
    await subscription.source.start(subscription)
    while await subscription.step():
        pass
    await subscription.source.stop()
    await referrals.close()
    async with service.database.transaction() as tx:
        await tx.execute(
            "UPDATE deliveries d SET endpoint_id = e.endpoint_id FROM (SELECT endpoint_id, "
            "row_number() OVER () - 1 AS n, count(*) OVER () AS c FROM endpoints) e "
            "WHERE d.seq % e.c = e.n"
        )
    connection = await asyncpg.connect(platform.database_url)
    await connection.execute("VACUUM ANALYZE partners.deliveries")
    await connection.close()


def _requested() -> Pending:
    person, referral = uuid4(), uuid4()
    requested = ReferralRequested(
        referral_id=referral,
        case_id=uuid4(),
        person_id=person,
        partner_id=PARTNER,
        partner_kind=PartnerKind.MISSION_LOCALE,
        service_id=SERVICE,
        thematique=Thematique("se-former--trouver-sa-formation"),
        agreement_id=uuid4(),
        agreed_until=date(2099, 1, 1),
        requested_on=date(2026, 11, 23),
        sealed=Disclosure(fields=FIELDS),
    )
    return Pending(f"referral-{referral}", [requested], person)


async def _measured(
    database: Any, worker: DeliveryWorker[Any], count: int, silent: int
) -> dict[str, Any]:
    statements = 0

    def note(_: object) -> None:
        nonlocal statements
        statements += 1

    def connected(connection: Any, _: object) -> None:
        connection.driver_connection.add_query_logger(note)

    await database.engine.dispose()
    event.listen(database.engine.sync_engine, "connect", connected)
    wanted = count if not silent else count - count // 50
    settle_memory()
    wal, cpu, theirs = await _wal(database), _own_cpu(), _postgres_cpu()
    started = time.perf_counter()
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(WAIT_SECONDS):
        while await _succeeded(database) < wanted:
            await asyncio.sleep(POLL_SECONDS)
    took = time.perf_counter() - started
    cpu, theirs = _own_cpu() - cpu, _postgres_cpu() - theirs
    wal = await _wal(database) - wal
    worker.stop()
    await running
    return {
        "rate": wanted / took,
        "per_cpu": wanted / (cpu + theirs),
        "postgres_share": round(theirs / (cpu + theirs), 2),
        "statements": round(statements / wanted, 3),
        "wal": round(wal / wanted),
        "bytes": BYTES,
    }


async def _succeeded(database: Any) -> int:
    async with database.reading() as connection:
        return int(
            await connection.fetchval(
                "SELECT count(*) FROM deliveries WHERE state = 'succeeded'"
            )
        )


async def _wal(database: Any) -> int:
    async with database.reading() as connection:
        return int(await connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _postgres_cpu() -> float:
    """Of every PostgreSQL process, those that ended included (counted in their parent)."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
        except OSError:
            continue
        if name == "postgres":
            ticks += sum(int(value) for value in rest.split()[11:15])
    return ticks / 100


async def _bare(ports: list[int], count: int) -> tuple[float, float]:
    """Signed posts from one process, nothing recorded."""
    sender, key, body = Sender(Guard(parse_networks(LOOPBACK))), new_secret(), b"x" * BYTES
    left = iter(range(count))

    async def one() -> None:
        for n in left:
            url = f"http://127.0.0.1:{ports[n % len(ports)]}/hook"
            await sender.send(Outgoing(url, f"dlv_{n}", body, [key]))

    cpu, started = _own_cpu(), time.perf_counter()
    await asyncio.gather(*(one() for _ in range(100)))
    took, cpu = time.perf_counter() - started, _own_cpu() - cpu
    await sender.close()
    return count / took, count / cpu


class _sinks:
    """Endpoints in a process of their own."""

    def __init__(self, count: int, silent: int = 0) -> None:
        program = SINK.replace("COUNT", str(count)).replace("HUNG", str(silent))
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> list[int]:
        assert self._process.stdout is not None
        return [int(port) for port in self._process.stdout.readline().split()]

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
