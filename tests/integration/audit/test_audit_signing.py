"""The signer's memory: crashes at any line, databases that go back, logs that fork."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from infra.postgres.database import Database, async_url
from infra.postgres.transaction import Transaction
from infra.tlog import merkle
from infra.tlog.note import open_checkpoint
from services.audit.handlers.memory import SignerMemory
from services.audit.handlers.signing import RefusedToSignError
from services.audit.tables import statements, tree
from services.hub.operations import hub as operations
from tests.support.audit_log import Hub, audit_hub, client_of, plain
from tests.support.postgres import Databases

NO_FILES = {"log_directory": ""}


class Killed(BaseException):
    """The process ends here."""


async def remembered(databases: Databases) -> list[Any]:
    """What stands in the keys' database."""
    vault = Database(databases.vault_url, "vault", pool_size=1)
    rows = await vault.rows("SELECT origin, size, note FROM signed_logs")
    await vault.close()
    return rows


async def grow(hub: Hub, count: int, stream: str) -> None:
    """More entries, not signed."""
    await hub.append("intake", stream, plain(count))
    await hub.read_all()


async def roots(hub: Hub) -> dict[int, bytes]:
    """Size and root of everything that readers may have seen."""
    keys = hub.signing.keys
    notes = [
        row["note"]
        for row in await hub.rows(statements.CHECKPOINTS, -1, 2**62, 99, keys.origin, 2**40)
    ]
    opened = [open_checkpoint(note, keys.vkeys(), keys.origin) for note in notes]
    return {checkpoint.size: checkpoint.root for checkpoint in opened}


async def test_what_is_given_out_was_remembered_before(
    hub: Hub, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hub.fill(10)
    stored = tree.store_checkpoint

    async def store(tx: Transaction, origin: str, signed: tree.Signed, at: Any) -> None:
        assert [(r["size"], r["note"]) for r in await remembered(databases)] == [
            (signed.size, signed.note)
        ]
        await stored(tx, origin, signed, at)

    monkeypatch.setattr(tree, "store_checkpoint", store)
    await hub.fill(5)
    assert sorted(await roots(hub)) == [10, 15]


Crash = Callable[[pytest.MonkeyPatch], None]


def before_it_is_remembered(patch: pytest.MonkeyPatch) -> None:
    async def kill(*_: object) -> None:
        raise Killed

    patch.setattr(SignerMemory, "remember", kill)


def after_it_is_remembered(patch: pytest.MonkeyPatch) -> None:
    whole = SignerMemory.remember

    async def remember(*given: Any) -> None:
        await whole(*given)
        raise Killed

    patch.setattr(SignerMemory, "remember", remember)


def before_it_is_stored(patch: pytest.MonkeyPatch) -> None:
    async def kill(*_: object) -> None:
        raise Killed

    patch.setattr(tree, "store_checkpoint", kill)


def before_it_is_committed(patch: pytest.MonkeyPatch) -> None:
    whole = tree.store_checkpoint

    async def store(*given: Any) -> None:
        await whole(*given)
        raise Killed

    patch.setattr(tree, "store_checkpoint", store)


@pytest.mark.parametrize("grows", [0, 7])
@pytest.mark.parametrize(
    "crash",
    [
        before_it_is_remembered,
        after_it_is_remembered,
        before_it_is_stored,
        before_it_is_committed,
    ],
)
async def test_a_signer_killed_at_any_line_goes_on_and_signs_no_size_twice(
    hub: Hub, databases: Databases, crash: Crash, grows: int
) -> None:
    await hub.fill(10)
    await grow(hub, 5, "s-1")
    with pytest.MonkeyPatch.context() as patch:
        crash(patch)
        with pytest.raises(Killed):
            await hub.signer.step()
    assert sorted(await roots(hub)) == [10]
    (left,) = await remembered(databases)
    assert left["size"] == (10 if crash is before_it_is_remembered else 15)
    if grows:
        await grow(hub, grows, "s-2")
    assert await hub.signer.step()
    assert not await hub.signer.step()
    assert sorted(await roots(hub)) == [10, 15 + grows]
    if left["size"] == 15 and not grows:
        assert (await hub.rows("SELECT note FROM checkpoints WHERE size = 15"))[0][0] == left[
            "note"
        ]
    leaves = await hub.leaf_hashes()
    assert await roots(hub) == {
        size: merkle.root_of(leaves[:size]) for size in (10, 15 + grows)
    }


@pytest.fixture
async def gone_back(postgres_url: str, databases: Databases) -> AsyncIterator[Any]:
    """Copies a database as it stands, and puts the copy in its place later."""
    engine = create_async_engine(async_url(postgres_url), isolation_level="AUTOCOMMIT")
    made: list[str] = []

    async def run(*statements: str) -> None:
        async with engine.connect() as connection:
            for statement in statements:
                await connection.execute(text(statement))

    async def keep(url: str) -> str:
        name = str(make_url(url).database)
        made.append(f"{name}_kept")
        await run(f'CREATE DATABASE "{name}_kept" TEMPLATE "{name}"')
        return name

    async def restore(name: str) -> None:
        await run(
            f'DROP DATABASE "{name}" WITH (FORCE)',
            f'CREATE DATABASE "{name}" TEMPLATE "{name}_kept"',
        )

    yield keep, restore
    for name in made:
        await run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    await engine.dispose()


@pytest.mark.parametrize(
    ("vault_too", "files", "place"),
    [
        (False, True, "the keys' database"),
        (False, False, "the keys' database"),
        (True, True, "the published files"),
    ],
)
@pytest.mark.parametrize("since", [0, 30])
async def test_a_database_restored_from_an_old_copy_is_not_signed_again(
    databases: Databases, gone_back: Any, vault_too: bool, files: bool, place: str, since: int
) -> None:
    keep, restore = gone_back
    given: dict[str, Any] = {} if files else NO_FILES
    async with audit_hub(databases, **given) as hub:
        await hub.fill(100)
    urls = [databases.url, databases.vault_url] if vault_too else [databases.url]
    names = [await keep(url) for url in urls]
    async with audit_hub(databases, **given) as hub:
        await hub.fill(20)
        if files:
            await hub.publish()
    for name in names:
        await restore(name)
    async with audit_hub(databases, **given) as hub:
        if since:
            await grow(hub, since, "s-other")
        with pytest.raises(RefusedToSignError, match="after 120 entries") as refused:
            await hub.signer.step()
        assert place in str(refused.value)
        assert sorted(await roots(hub)) == [100]


async def test_a_refusal_is_seen_everywhere_an_operator_looks(
    hub: Hub, databases: Databases
) -> None:
    await hub.fill(20)
    await hub.tamper("UPDATE audit.entries SET leaf_hash = sha256('x') WHERE idx = 19")
    await grow(hub, 5, "s-1")
    before = REGISTRY.get_sample_value("aiguillage_log_refusals_total") or 0
    await hub.signer.attempt()
    assert REGISTRY.get_sample_value("aiguillage_log_refusals_total") == before + 1
    assert REGISTRY.get_sample_value("aiguillage_log_refusing") == 1
    async with client_of(hub) as client:
        ready = (await client.get("/readyz")).json()
        assert (ready["ready"], [a["kind"] for a in ready["alarms"]]) == (True, ["log-refused"])
        said = (await client.get("/v1/log")).json()["refusal"]
    assert "after 20 entries" in said == ready["alarms"][0]["detail"]
    settings = hub.platform.settings.model_copy(
        update={"database_url": databases.url, "vault_url": databases.vault_url}
    )
    row = next(
        r for r in await operations.status(settings) if r["subscription"] == "log-signer"
    )
    assert (row["service"], row["next"], row["lag"], row["paused"]) == ("audit", 20, 5, True)
    assert "after 20 entries" in row["reason"]
    checks = {check.name: check for check in await operations.doctor(settings)}
    assert not checks["audit log"].ok
    assert "log-refused" in checks["audit log"].repair


async def test_an_alarm_is_over_when_the_log_holds_again(hub: Hub) -> None:
    await hub.fill(20)
    (kept,) = await hub.rows("SELECT leaf_hash FROM entries WHERE idx = 19")
    await hub.tamper("UPDATE audit.entries SET leaf_hash = sha256('x') WHERE idx = 19")
    await hub.signer.attempt()
    assert hub.signing.refusal
    await hub.tamper("UPDATE audit.entries SET leaf_hash = $1 WHERE idx = 19", kept[0])
    await hub.signer.attempt()
    assert hub.signing.refusal is None
    assert REGISTRY.get_sample_value("aiguillage_log_refusing") == 0


async def test_a_log_that_is_read_again_to_where_it_was_goes_on(hub: Hub) -> None:
    await hub.fill(50)
    await hub.tamper(
        "WITH gone AS (DELETE FROM audit.entries), too AS (DELETE FROM audit.streams) "
        "UPDATE audit.offsets SET next = 0, position = 0"
    )
    await hub.tamper("UPDATE audit.tree SET size = 0, frontier = $1", merkle.Frontier().dump())
    with pytest.raises(RefusedToSignError, match="after 50 entries"):
        await hub.signer.step()
    await hub.read_all()
    assert not await hub.signer.step()
    await grow(hub, 5, "s-1")
    assert await hub.signer.step()


@asynccontextmanager
async def second_database(databases: Databases, gone_back: Any) -> AsyncIterator[Hub]:
    """A copy of the hub's database that goes on by itself, with the same keys."""
    keep, _ = gone_back
    name = await keep(databases.url)
    url = databases.url.replace(name, f"{name}_kept")
    copy = Databases(url, databases.vault_url, databases.directory)
    async with audit_hub(copy, **NO_FILES) as hub:
        yield hub


async def test_of_two_databases_with_one_key_only_one_is_signed(
    databases: Databases, gone_back: Any
) -> None:
    async with audit_hub(databases, **NO_FILES) as hub:
        await hub.fill(20)
    async with (
        second_database(databases, gone_back) as copy,
        audit_hub(databases, **NO_FILES) as hub,
    ):
        await copy.fill(5)
        await grow(hub, 7, "s-1")
        with pytest.raises(RefusedToSignError, match="after 25 entries"):
            await hub.signer.step()
        await copy.fill(5)


async def test_two_signers_at_the_same_moment_do_not_both_sign(
    databases: Databases, gone_back: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with audit_hub(databases, **NO_FILES) as hub:
        await hub.fill(20)
    async with (
        second_database(databases, gone_back) as copy,
        audit_hub(databases, **NO_FILES) as hub,
    ):
        await grow(hub, 9, "s-1")
        await grow(copy, 5, "s-2")
        remember, first = SignerMemory.remember, True

        async def overtaken(*given: Any) -> None:
            nonlocal first
            if first:  # the other signs after this one has looked, before it remembers
                first = False
                assert await copy.signer.step()
            await remember(*given)

        monkeypatch.setattr(SignerMemory, "remember", overtaken)
        with pytest.raises(RefusedToSignError, match="somebody else"):
            await hub.signer.step()
        assert sorted(await roots(hub)) == [20]
        assert sorted(await roots(copy)) == [20, 25]


async def test_without_the_keys_database_nothing_is_signed(databases: Databases) -> None:
    away = Databases(databases.url, "postgresql://nobody@127.0.0.1:1/none", databases.directory)
    async with audit_hub(away) as hub:
        await hub.append("intake", "s-1", plain(5))
        await hub.read_all()
        with pytest.raises(ConnectionRefusedError):
            await hub.signer.step()
        assert await roots(hub) == {}


async def test_a_published_checkpoint_that_is_not_ours_stops_the_signer(hub: Hub) -> None:
    await hub.fill(20)
    await hub.publish()
    path = next(hub.platform.settings.data.glob("log/**/checkpoint"))
    path.write_bytes(path.read_bytes().replace(b"\n20\n", b"\n21\n"))
    with pytest.raises(RefusedToSignError, match="published files"):
        await hub.signer.step()
    path.write_bytes(b"nonsense")
    with pytest.raises(RefusedToSignError, match="published checkpoint"):
        await hub.signer.step()


async def test_the_memory_can_neither_be_deleted_nor_go_back(
    hub: Hub, databases: Databases
) -> None:
    await hub.fill(20)
    vault = Database(databases.vault_url, "vault", pool_size=1)
    memory = SignerMemory(vault, hub.signing.keys.origin)
    with pytest.raises(Exception, match="permission denied"):
        await vault.rows("DELETE FROM signed_logs")
    last = await memory.recall()
    assert last is not None
    for size in (19, 20):
        with pytest.raises(Exception, match="somebody else"):
            await memory.remember(
                tree.Signed(size, bytes(32), b"note"), last, hub.platform.clock()
            )
    await vault.close()
    assert (await remembered(databases))[0]["size"] == 20


async def test_a_new_origin_is_a_new_log_over_the_same_entries(databases: Databases) -> None:
    async with audit_hub(databases) as hub:
        await hub.fill(20)
        old = hub.signing.keys.newest()
        await hub.tamper("UPDATE audit.tree SET size = 19")
    async with audit_hub(databases, log_origin="aiguillage.local/log2") as hub:
        assert await hub.signer.step()
        new = hub.signing.keys.newest()
        assert (new.name, new.public == old.public) == ("aiguillage.local/log2", False)
        async with client_of(hub) as client:
            note = (await client.get("/checkpoint")).content
            listed = (await client.get("/v1/checkpoints")).json()["checkpoints"]
            described = (await client.get("/v1/log")).json()
        assert open_checkpoint(note, [new], "aiguillage.local/log2").size == 20
        assert [item["size"] for item in listed] == [20]
        assert [key["vkey"] for key in described["keys"]] == [old.encode(), new.encode()]
        assert described["keys"][0]["until"] is not None
