"""What a human must look at is shown everywhere, and stays until it is over."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from infra.base.settings import Settings
from infra.messaging.subscription import set_paused
from infra.platform import Platform
from infra.postgres.database import Database, storable
from infra.web.app import Service, create_app
from infra.workers.alarms import Condition, acknowledge, clear_alarm, open_alarms, raise_alarm
from services.hub.cli import main as cli
from services.hub.operations import alarms as verbs
from services.hub.operations import hub as operations
from tests.support.postgres import Databases


@pytest.fixture
async def referrals(databases: Databases) -> AsyncIterator[Database]:
    database = Database(databases.url, "referrals")
    yield database
    await database.close()


async def raised(database: Database, *alarm: Any) -> None:
    async with database.transaction() as tx:
        await raise_alarm(tx, *alarm)


async def shown(database: Database) -> list[tuple[str, str, int, str]]:
    async with database.reading() as connection:
        found = await open_alarms(connection)
    return [(one.kind, one.subject, one.count, one.detail) for one in found]


async def test_an_alarm_is_counted_again_and_stays_until_it_is_cleared(referrals: Database):
    await raised(referrals, "gone", "municipal 0", "from 3 to 9", 7)
    await raised(referrals, "gone", "municipal 0", "from 3 to 11", 2)
    await raised(referrals, "gone", "municipal 1", "from 0 to 1")
    assert await shown(referrals) == [
        ("gone", "municipal 0", 9, "from 3 to 11"),
        ("gone", "municipal 1", 1, "from 0 to 1"),
    ]
    async with referrals.transaction() as tx:
        await clear_alarm(tx, "gone", "municipal 0")
    assert [subject for _, subject, _, _ in await shown(referrals)] == ["municipal 1"]


async def test_an_acknowledged_alarm_is_shown_again_only_when_raised_again(referrals: Database):
    await raised(referrals, "gone", "municipal 0", "from 3 to 9", 7)
    async with referrals.transaction() as tx:
        assert await acknowledge(tx, "gone", "municipal 0")
        assert not await acknowledge(tx, "gone", "municipal 0")
    assert await shown(referrals) == []
    await raised(referrals, "gone", "municipal 0", "from 20 to 21", 2)
    assert await shown(referrals) == [("gone", "municipal 0", 2, "from 20 to 21")]


async def test_an_alarm_takes_any_text(referrals: Database):
    await raised(referrals, "gone", "a\0b" * 500, "\ud800\0" * 5000)
    ((_, subject, _, detail),) = await shown(referrals)
    assert (len(subject), len(detail)) == (200, 1000)
    assert "\0" not in subject + detail
    assert storable("a" * 5, 5) == "a" * 5


async def test_a_state_is_written_only_when_it_changes(referrals: Database):
    await raised(referrals, "behind", "routing", "left by a process that is gone")
    state = Condition(referrals, "behind", "routing")
    await state.tell(None)
    assert await shown(referrals) == []
    for _ in range(3):
        await state.tell("more than a minute")
    assert await shown(referrals) == [("behind", "routing", 1, "more than a minute")]
    await state.tell(None)
    assert await shown(referrals) == []


async def park(database: Database, key: str, offset: int) -> None:
    async with database.transaction() as tx:
        await tx.execute(
            'INSERT INTO dead_letters (subscription, source, partition, "offset", key, record, '
            f"error) VALUES ('routing', 'intake', 0, {offset}, '{key}', '', 'KeyError')"
        )


async def test_paused_and_parked_are_alarms_everywhere_and_end_by_themselves(
    referrals: Database, databases: Databases
):
    async with referrals.transaction() as tx:
        await set_paused(tx, "routing", True, "10 persons failed")
    for offset, key in enumerate(["a", "a", "b"]):
        await park(referrals, key, offset)
    service = Service("referrals", create_app("t", "t"), referrals)
    settings = Settings(
        data=databases.directory, database_url=databases.url, vault_url=databases.vault_url
    )
    ready = await readiness(service)
    assert [(a["service"], a["kind"], a["subject"], a["count"]) for a in ready["alarms"]] == [
        ("referrals", "paused", "routing", 1),
        ("referrals", "parked", "routing", 3),
    ]
    labels = {"service": "referrals", "kind": "parked"}
    assert REGISTRY.get_sample_value("aiguillage_alarms", labels) == 1
    listed = await verbs.list_alarms(settings)
    assert [(one.service, one.alarm.detail) for one in listed] == [
        ("referrals", "10 persons failed"),
        ("referrals", "2 persons wait"),
    ]
    (check,) = [c for c in await operations.doctor(settings) if c.name == "alarms"]
    assert (check.ok, check.detail) == (
        False, "referrals paused routing; referrals parked routing"
    )  # fmt: skip
    with pytest.raises(verbs.NoSuchAlarmError, match="ends with what it is about"):
        await verbs.acknowledge(settings, "referrals", "parked", "routing")
    async with referrals.transaction() as tx:
        await set_paused(tx, "routing", False)
        await tx.execute("DELETE FROM dead_letters")
    assert (await readiness(service))["alarms"] == []
    assert REGISTRY.get_sample_value("aiguillage_alarms", labels) == 0


async def test_an_operator_acknowledges_what_is_past(
    referrals: Database, platform: Platform, databases: Databases
):
    await raised(referrals, "gone", "municipal 0", "from 3 to 9", 7)
    settings = Settings(
        data=databases.directory, database_url=databases.url, vault_url=databases.vault_url
    )
    await verbs.acknowledge(settings, "referrals", "gone", "municipal 0")
    assert await verbs.list_alarms(settings) == []
    with pytest.raises(verbs.NoSuchAlarmError, match="no open alarm"):
        await verbs.acknowledge(settings, "referrals", "gone", "municipal 0")
    with pytest.raises(verbs.NoSuchAlarmError, match="no service nowhere"):
        await verbs.acknowledge(settings, "nowhere", "gone", "municipal 0")


async def readiness(service: Service) -> Any:
    transport = httpx2.ASGITransport(service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        return (await client.get("/readyz")).json()


def test_the_verbs_print_alarms_and_answer_by_their_exit_code(
    databases: Databases, monkeypatch: pytest.MonkeyPatch
):
    async def prepare() -> None:
        database = Database(databases.url, "audit")
        await raised(database, "gone", "municipal 0", "from 3 to 9", 7)
        await database.close()

    asyncio.run(prepare())
    monkeypatch.setattr(cli, "configure_logging", lambda *_, **__: None)  # not on its stderr
    monkeypatch.setenv("AIGUILLAGE_DATABASE_URL", databases.url)
    monkeypatch.setenv("AIGUILLAGE_VAULT_URL", databases.vault_url)
    data = ["--data", str(databases.directory)]
    runner = CliRunner()
    listed = runner.invoke(cli.app, ["alarms", "list", "--json", *data])
    assert (listed.exit_code, '"detail":"from 3 to 9"' in listed.stdout) == (1, True)
    assert (
        "audit gone municipal 0: from 3 to 9 (7 ×"
        in runner.invoke(cli.app, ["status", *data]).stderr
    )
    named = ["audit", "gone", "municipal 0"]
    told = runner.invoke(cli.app, ["alarms", "acknowledge", *named, *data])
    assert told.exit_code == 0
    assert runner.invoke(cli.app, ["alarms", "list", *data]).exit_code == 0
