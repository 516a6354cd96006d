"""The log, the events and the read tables compared: whatever was changed is found and named."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy.engine import make_url

from contracts.registry import SERVICES
from contracts.values import PartnerKind, ReferralStatus
from infra.base.settings import Settings
from infra.eventstore.events import StoredEvent
from infra.eventstore.store import EventStore
from infra.platform import Platform
from infra.readmodels.reconciliation import Finding, Report, announce
from services.audit.app import build as build_audit
from services.audit.handlers import reconciling
from services.audit.handlers.reconciling import Applied
from services.hub.operations.hub import REBUILD
from services.hub.operations.reconcile import BusyError, reconcile
from services.partners.handlers.directory import seed
from tests.support.audit_log import Hub
from tests.support.platform import append, drain, resident
from tests.support.postgres import Databases, copied
from tests.support.referral_app import ReferralApp


@dataclass
class Whole:
    """Referrals, a directory and the log, on one database that is this test's own."""

    databases: Databases

    async def compare(self) -> dict[str, Report]:
        """Every report by its part."""
        urls = {"database_url": self.databases.url, "vault_url": self.databases.vault_url}
        settings = Settings(data=self.databases.directory, **urls)
        return {report.part: report async for report in reconcile(settings)}

    async def findings(self, part: str | None = None) -> list[Finding]:
        """What differs, in one part or in all."""
        reports = await self.compare()
        return [f for r in reports.values() if part in (None, r.part) for f in r.findings]

    async def change(self, *statements: str) -> None:
        """As somebody who owns the database."""
        async with self.databases.owner() as raw:
            for statement in statements:
                await raw.execute(statement)

    async def event(self, service: str, number: int) -> Any:
        """The ``number``-th event of a service."""
        query = f"SELECT * FROM {service}.events ORDER BY position LIMIT 1 OFFSET {number}"
        async with self.databases.owner() as raw:
            return await raw.fetchrow(query)

    async def read(self, service: str, position: int) -> list[StoredEvent]:
        """The event at a position, with all that its entry commits to."""
        database = self.databases.of(service)
        async with database.reading() as tx:
            found = await EventStore(service, as_stored=True).read(tx, position - 1, 1)
        await database.close()
        return found


@pytest.fixture(scope="module")
async def played(
    postgres_url: str, template: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Databases]:
    """What every test starts from: cases, referrals, answers, a directory; all in the log."""
    directory = tmp_path_factory.mktemp("played")
    async with copied(postgres_url, template, directory) as databases:
        settings = Settings(data=directory, poll_seconds=0.02)
        platform = Platform(settings, databases.url, databases.vault_url)
        referral_app, log = ReferralApp(platform), Hub(platform, build_audit(platform))
        await seed(platform, "petite-foret")
        await drain(referral_app.service)
        for agreed in ((PartnerKind.MISSION_LOCALE,), tuple(PartnerKind), ()):
            case = await referral_app.case(await referral_app.comes(agreed=agreed))
            if case["referrals"] and case["referrals"][-1]["status"] == "requested":
                await referral_app.answers(case, ReferralStatus.ACCEPTED)
        await log.fill(600)
        for service in (log.service, referral_app.service):
            await service.stop()
        for pool in log.pools.values():
            await pool.close()
        await platform.close()
        yield databases


@pytest.fixture
async def whole(postgres_url: str, played: Databases, tmp_path: Path) -> AsyncIterator[Whole]:
    names = tuple(str(make_url(url).database) for url in (played.url, played.vault_url))
    async with copied(postgres_url, (names[0], names[1]), played.directory) as databases:
        yield Whole(databases)


async def test_what_nobody_touched_agrees_in_every_part(whole: Whole) -> None:
    reports = await whole.compare()
    events = {f"{service}.events" for service in SERVICES}
    read = {f"{schema}.{name}" for schema, tables in REBUILD.items() for name in tables.names}
    assert set(reports) == events | {"audit.entries"} | read
    assert set(REBUILD) == set(SERVICES)
    assert [r.findings for r in reports.values() if r.count] == []
    assert not any(r.in_flight for r in reports.values())
    counted = sum(reports[f"{s}.events"].compared for s in ("intake", "referrals", "partners"))
    assert reports["audit.entries"].compared == counted > 600
    assert min(reports[t].compared for t in ("referrals.cases", "partners.services")) > 0


async def test_comparing_leaves_everything_as_it_was(whole: Whole) -> None:
    async def texts() -> list[str]:
        found = []
        for table in ("audit.entries", "referrals.referrals", "partners.services"):
            async with whole.databases.owner() as raw:
                found += await raw.fetch(f"SELECT t::text FROM {table} t ORDER BY 1")
        return [row[0] for row in found]

    before = await texts()
    await whole.compare()
    assert await texts() == before


async def test_events_on_their_way_are_no_difference(whole: Whole) -> None:
    settings = Settings(data=whole.databases.directory)
    platform = Platform(settings, whole.databases.url, whole.databases.vault_url)
    person = uuid4()
    await append(platform, "intake", f"person-{person}", resident(person), person)
    await platform.close()
    reports = await whole.compare()
    assert reports["intake.events"].in_flight == len(resident(person))
    assert [r.findings for r in reports.values() if r.count] == []


EVENT_CHANGES = {  # of the n-th event of the intake
    3: ("data = '{}'", "vouches for: data"),
    5: ("sealed = 'x'", "vouches for: sealed"),
    7: ("person_id = gen_random_uuid()", "vouches for: person"),
    9: ("occurred_at = now()", "vouches for: occurred_at"),
    11: ("recorded_at = now()", "vouches for: recorded_at"),
    13: ("type = 'x'", "vouches for: type"),
    15: ("meta = jsonb_set(meta::jsonb, '{actor}', '\"x\"')::json", "vouches for: actor"),
    17: ("entry = entry || ' '", "not the one in the log"),
    19: ("entry = 'x'", "vouches for: entry"),
    21: ("event_id = gen_random_uuid()", "vouches for: header"),
}


async def test_every_tampered_event_is_found_and_named(whole: Whole) -> None:
    events = {number: await whole.event("intake", number) for number in EVENT_CHANGES}
    await whole.change(
        *(
            f"UPDATE intake.events SET {change} WHERE position = {events[number]['position']}"
            for number, (change, _) in EVENT_CHANGES.items()
        )
    )
    found = await whole.findings("intake.events")
    for number, (_, detail) in EVENT_CHANGES.items():
        event = events[number]
        place = f"({event['stream']} version {event['version']})"
        assert any(place in f.what and detail in f.detail for f in found), number
        assert any(str(event["event_id"]) in f.what for f in found) is (number != 21)


async def test_an_event_rewritten_with_its_entry_is_still_not_that_of_the_log(
    whole: Whole,
) -> None:
    event = await whole.event("referrals", 0)
    (read,) = await whole.read("referrals", event["position"])
    other = replace(read, meta=replace(read.meta, actor="x"))
    await whole.change(
        f"UPDATE referrals.events SET entry = '{other.entry().decode()}'::bytea, "
        "meta = jsonb_set(meta::jsonb, '{actor}', '\"x\"')::json "
        f"WHERE position = {event['position']}"
    )
    assert [(f.kind, f.detail) for f in await whole.findings()] == [
        ("changed", "its entry is not the one in the log")
    ]


async def test_a_deleted_event_is_found_as_a_hole_and_in_the_log(whole: Whole) -> None:
    event = await whole.event("intake", 2)
    await whole.change(f"DELETE FROM intake.events WHERE position = {event['position']}")
    reports = await whole.compare()
    (extra,) = reports["audit.entries"].findings
    assert (extra.kind, extra.what.split(" ")[0]) == ("extra", str(event["event_id"]))
    (hole,) = reports["intake.events"].findings
    assert (hole.kind, hole.what) == ("hole", event["stream"])
    assert hole.detail == f"version {event['version'] + 1} follows {event['version'] - 1}"


COLUMNS = (
    "stream, version, type, person_id, occurred_at, recorded_at, data, sealed, meta, salt, "
    "sealed_salt, sealed_commitment, entry"
)


async def test_a_duplicated_event_is_found(whole: Whole) -> None:
    copied_id, same_id = await whole.event("referrals", 1), await whole.event("referrals", 2)
    await whole.change(
        "ALTER TABLE referrals.events DROP CONSTRAINT events_stream_version",
        "ALTER TABLE referrals.events DROP CONSTRAINT events_event_id_key",
        f"INSERT INTO referrals.events (position, event_id, {COLUMNS}) "
        f"SELECT -1, gen_random_uuid(), {COLUMNS} FROM referrals.events "
        f"WHERE position = {copied_id['position']}",
        f"INSERT INTO referrals.events (position, event_id, {COLUMNS}) "
        f"SELECT 0, event_id, {COLUMNS} FROM referrals.events "
        f"WHERE position = {same_id['position']}",
    )
    found = await whole.findings("referrals.events")
    twice = [f for f in found if f.kind == "duplicate"]
    for event in (copied_id, same_id):
        assert (event["stream"], f"version {event['version']} is there twice") in [
            (f.what, f.detail) for f in twice
        ]
    assert f"stands at 0, the log has it from referrals at {same_id['position']}" in [
        f.detail for f in twice
    ]
    assert "not in the log (never read)" in [f.detail for f in found]


async def test_an_event_that_the_log_never_took_is_an_alarm_and_no_skip(whole: Whole) -> None:
    lost, parked = await whole.event("intake", 1), await whole.event("intake", 2)
    await whole.change(
        f"DELETE FROM audit.entries WHERE event_id IN ('{lost['event_id']}', "
        f"'{parked['event_id']}')",
        'INSERT INTO audit.dead_letters (subscription, source, partition, "offset", position, '
        f"key, record, error) VALUES ('log-intake', 'intake', 0, 1, {parked['position']}, 'x', "
        "'x', 'X')",
    )
    reports = await whole.compare()
    assert [(f.kind, f.detail) for f in reports["intake.events"].findings] == [
        ("missing", "not in the log (never read)"),
        ("missing", "not in the log (parked: aiguillage status)"),
    ]
    kinds = {f.kind for f in reports["audit.entries"].findings}
    assert kinds == {"hole", "changed"}  # indices are missing, and the tree is another


LOG_CHANGES = (
    ("entries SET data = '{}' WHERE idx = 4", "changed", "vouches for: data"),
    ("entries SET type = 'x' WHERE idx = 5", "changed", "vouches for: type"),
    (
        "entries SET sealed = 'x', sealed_salt = coalesce(sealed_salt, salt) WHERE idx = 6",
        "changed",
        "vouches for: sealed",
    ),
    ("entries SET salt = sha256('x') WHERE idx = 3", "changed", "vouches for: header"),
    ("entries SET leaf_hash = sha256('x') WHERE idx = 7", "changed", "not that of its bytes"),
    ("entries SET service = 'else' WHERE idx = 8", "extra", "else has no such event"),
    ("entries SET event_id = gen_random_uuid() WHERE idx = 9", "extra", "has no such event"),
    ("nodes SET hash = sha256('x') WHERE (level, idx) = (1, 1)", "changed", "of its leaves"),
    ("nodes SET idx = 7 WHERE (level, idx) = (1, 0)", "changed", "not that of its leaves"),
    ("tree SET frontier = overlay(frontier placing 'xx' from 20)", "changed", "not those that"),
    ("streams SET version = 99 WHERE stream LIKE 'case-%'", "changed", "version 99 is kept"),
)


async def test_every_change_of_the_log_is_found_and_named(whole: Whole) -> None:
    await whole.change(*(f"UPDATE audit.{change}" for change, _, _ in LOG_CHANGES))
    await whole.change("INSERT INTO audit.nodes VALUES (3, 7, sha256('x'))")
    found = await whole.findings("audit.entries")
    said = {(f.kind, f.detail) for f in found}
    for change, kind, detail in (*LOG_CHANGES, ("", "extra", "are stored")):
        assert any(k == kind and detail in d for k, d in said), change


ROW_CHANGES = (
    ("UPDATE referrals.cases SET status = 'completed'", "referrals.cases", "changed row",
     "not as the events say: status"),
    ("UPDATE referrals.referrals SET status = 'failed', outcome = 'x'",
     "referrals.referrals", "changed row", "not as the events say: status, outcome"),
    ("DELETE FROM referrals.proposals", "referrals.proposals", "missing row",
     "the events say it is there"),
    ("INSERT INTO referrals.rules VALUES (99, 'x', 'x', '{}', now())", "referrals.rules",
     "extra row", "no event says so"),
    ("UPDATE partners.services SET policy = 'x'", "partners.services", "changed row",
     "not as the events say: policy"),
    ("UPDATE partners.partners SET structure = structure::text::jsonb::json",
     "partners.partners", "changed row", "not as the events say: its text"),
)  # fmt: skip


async def test_every_changed_read_row_is_found_and_named(whole: Whole) -> None:
    await whole.change(*(change for change, *_ in ROW_CHANGES))
    reports = await whole.compare()
    assert {part for part, report in reports.items() if report.count} == {
        part for _, part, _, _ in ROW_CHANGES
    }
    for _, part, kind, detail in ROW_CHANGES:
        found = reports[part].findings
        assert {(f.kind, f.detail) for f in found} == {(kind, detail)}
        assert all("=" in f.what for f in found)


async def test_two_at_once_are_one_too_many(whole: Whole) -> None:
    async with whole.databases.owner() as raw:
        await raw.execute("SELECT pg_advisory_xact_lock($1, 0)", reconciling.LOCK_CLASS)
        with pytest.raises(BusyError):
            await whole.compare()


async def test_pages_end_where_a_stream_goes_on(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciling, "PAGE", 3)
    assert await whole.findings() == []


NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("position", "age", "waits"),
    [(101, 48, True), (100, 48, False), (100, 0, True), (50, 0, False), (51, 0, True)],
)
def test_an_event_is_on_its_way_until_its_topic_must_have_brought_it(
    position: int, age: int, waits: bool
) -> None:
    applied = Applied(low=50, high=100, patience_until=NOW - timedelta(hours=1))
    assert applied.on_its_way(position, NOW - timedelta(hours=age)) is waits


def test_a_report_counts_all_and_shows_few() -> None:
    report = Report("x.events", compared=1000, in_flight=2, erased=3)
    for number in range(150):
        report.add("changed", f"event {number}", "data")
    assert report.lines()[0] == (
        "  ✗ x.events: 1000 compared, 2 on their way, 3 erased, 150 differences"
    )
    assert report.lines()[-1] == "      … and 50 more"
    assert (report.document()["differences"], len(report.document()["findings"])) == (150, 100)
    announce([report])
    metric = "aiguillage_reconciliation_findings"
    assert REGISTRY.get_sample_value(metric, {"part": "x.events"}) == 150
    announce([Report("x.events")])
    assert REGISTRY.get_sample_value(metric, {"part": "x.events"}) == 0
