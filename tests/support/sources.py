"""One service that appends, one that subscribes, and either source between the two."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest
from sqlalchemy.engine import make_url

from infra.base.clock import system_clock
from infra.base.settings import Settings
from infra.eventstore.events import NewEvent, StoredEvent
from infra.eventstore.store import Append, EventStore
from infra.messaging.relay import relay_subscription
from infra.messaging.sources.base import Source
from infra.messaging.sources.kafka import KafkaSource
from infra.messaging.sources.postgres import PostgresSource
from infra.messaging.subscription import Subscription, set_paused
from infra.platform import Platform
from infra.postgres.database import Database, role_of
from infra.postgres.transaction import Transaction
from tests.support.postgres import Databases

WAIT_SECONDS = 90
EVENT_TYPE = "fr.test.happened.v1"
Effect = tuple[str, int]
Handler = Callable[[Sequence[StoredEvent], Transaction], Awaitable[None]]


class FaultyMessageError(Exception):
    """What a handler raises for a message that it cannot digest."""


@dataclass
class World:
    """`intake` appends; subscriptions of `referrals` write what they saw to `effects`.

    Each effect is (key, n): `n` numbers the events in the order of their positions.
    """

    databases: Databases
    settings: Settings
    intake: Database
    referrals: Database
    platform: Platform
    _appended: int = 0
    _by_member: dict[int, asyncio.Task[None]] = field(default_factory=dict)

    @property
    def kafka(self) -> bool:
        """Whether there is a broker between the two services."""
        return self.settings.kafka_bootstrap is not None

    def source(self, database: Database | None = None, **options: Any) -> Source[StoredEvent]:
        """A new reader of the intake's events, a member of the same group as the others."""
        if self.kafka:
            return KafkaSource(
                self.settings,
                database or self.referrals,
                "intake",
                "consumer",
                self.platform.record_key(),
                **options,
            )
        return PostgresSource(database or self.referrals, "intake")

    def subscription(
        self, handle: Handler | None = None, database: Database | None = None, **options: Any
    ) -> Subscription[StoredEvent]:
        """A member of the subscription `consumer`; it writes effects unless told otherwise."""
        database = database or self.referrals
        return Subscription(
            "consumer",
            database,
            self.source(database, **options),
            handle or write_effects,
            batch_size=self.settings.batch_size,
            poll_seconds=self.settings.poll_seconds,
        )

    def relay(self) -> Subscription[StoredEvent]:
        """What copies the intake's table to its topic."""
        return relay_subscription(
            self.settings, self.platform.record_key(), self.intake, "intake"
        )

    async def append(self, persons: Sequence[UUID], rounds: int = 1) -> list[Effect]:
        """One event per person and round; answers the effects that they should have."""
        expected, appends = [], []
        for person in [p for _ in range(rounds) for p in persons]:
            self._appended += 1
            data = orjson.dumps({"n": self._appended}).decode()
            event = NewEvent(EVENT_TYPE, data, system_clock(), person)
            appends.append(Append(f"person-{person}", [event]))
            expected.append((str(person), self._appended))
        async with self.intake.transaction() as tx:
            await EventStore("intake").append(tx, appends, system_clock())
        return expected

    async def effects(self) -> list[Effect]:
        """What was written, in the order of writing."""
        rows = await self.fetch("SELECT key, n FROM referrals.effects ORDER BY id")
        return [(row["key"], row["n"]) for row in rows]

    async def parked(self) -> list[tuple[str, int | None]]:
        """Key and position of what is parked, in the order of parking."""
        rows = await self.fetch(
            "SELECT key, position FROM referrals.dead_letters ORDER BY position, id"
        )
        return [(row["key"], row["position"]) for row in rows]

    async def standing(self) -> list[tuple[int, int]]:
        """Next offset and last position of every partition."""
        rows = await self.fetch(
            "SELECT next, position FROM referrals.offsets WHERE subscription = 'consumer' "
            "ORDER BY partition"
        )
        return [(row["next"], row["position"]) for row in rows]

    async def fetch(self, query: str, *values: Any) -> list[Any]:
        """Ask the database as its owner."""
        connection = await asyncpg.connect(_plain_url(self.databases.url))
        try:
            return list(await connection.fetch(query, *values))
        finally:
            await connection.close()

    async def settled(self, expected: Sequence[Effect]) -> None:
        """Wait until as many effects are there; then each must be there once, in order."""
        await self.until(lambda: self._count(len(expected)))
        assert_once_and_in_order(await self.effects(), expected)

    async def _count(self, wanted: int) -> bool:
        (row,) = await self.fetch("SELECT count(*) FROM referrals.effects")
        return bool(row["count"] >= wanted)

    async def until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        """Wait for a condition; the bound is only there to end a test that fails."""
        async with asyncio.timeout(WAIT_SECONDS):
            while not await condition():
                await asyncio.sleep(0.05)

    async def quiet(self, *members: Subscription[StoredEvent]) -> None:
        """Wait until all that was published is read; then stop, so that all is applied."""
        await self.until(lambda: _nothing_left(members))
        for member in members:
            member.stop()
        for member in members:
            await self._by_member[id(member)]

    def start(self, subscription: Subscription[StoredEvent]) -> asyncio.Task[None]:
        """Run a subscription until the end of the test, or until it is stopped or cancelled."""
        task = asyncio.create_task(subscription.run())
        self._by_member[id(subscription)] = task
        return task

    async def close(self) -> None:
        """Cancel what still runs."""
        for task in self._by_member.values():
            task.cancel()
        await asyncio.gather(*self._by_member.values(), return_exceptions=True)
        await self.platform.close()
        await self.intake.close()
        await self.referrals.close()


@contextlib.asynccontextmanager
async def world(
    databases: Databases, bootstrap: str | None, topic_prefix: str, **settings: Any
) -> AsyncIterator[World]:
    """A world whose relay runs, if it has a broker."""
    chosen = Settings(
        data=databases.directory,
        kafka_bootstrap=bootstrap,
        topic_prefix=topic_prefix,
        poll_seconds=0.05,
        **settings,
    )
    platform = Platform(chosen, databases.url, databases.vault_url)
    made = World(databases, chosen, databases.of("intake"), databases.of("referrals"), platform)
    await made.fetch(
        "CREATE TABLE referrals.effects (id bigserial PRIMARY KEY, key text, n int, "
        "position bigint)"
    )
    role = role_of("referrals")
    await made.fetch(f"GRANT INSERT, SELECT ON referrals.effects TO {role}")
    await made.fetch(f"GRANT USAGE ON SEQUENCE referrals.effects_id_seq TO {role}")
    try:
        yield made
    finally:
        await made.close()


async def _nothing_left(members: Sequence[Subscription[StoredEvent]]) -> bool:
    """Whether nothing waits; who is between two connections does not know."""
    try:
        return sum([await member.lag() for member in members]) == 0
    except (ConnectionError, TimeoutError):
        return False


async def write_effects(events: Sequence[StoredEvent], tx: Transaction) -> None:
    """The handler of these tests: one row per event."""
    await tx.execute(
        "INSERT INTO effects (key, n, position) "
        "SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[])",
        [event.key for event in events],
        [number_of(event) for event in events],
        [event.position for event in events],
    )


def number_of(event: StoredEvent) -> int:
    """The `n` of an event appended by these tests."""
    return int(orjson.loads(event.data)["n"])


def assert_once_and_in_order(effects: Sequence[Effect], expected: Sequence[Effect]) -> None:
    """Each effect once; those of one person in their order."""
    assert sorted(effects, key=lambda e: e[1]) == list(expected)
    assert by_person(effects) == by_person(expected)


def by_person(effects: Sequence[Effect]) -> dict[str, list[int]]:
    """Person → numbers, in the order given."""
    found: dict[str, list[int]] = {}
    for key, n in effects:
        found.setdefault(key, []).append(n)
    return found


def persons(count: int) -> list[UUID]:
    """New persons."""
    return [uuid4() for _ in range(count)]


class Gate:
    """A TCP way to the server that can be closed and opened: an outage, as clients see it."""

    def __init__(self, url: str) -> None:
        self._target = make_url(url)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def url(self) -> str:
        """The server's URL, through the gate."""
        through = self._target.set(host="127.0.0.1", port=self._port, query={})
        return through.render_as_string(hide_password=False)

    async def open(self) -> None:
        """Let connections through, on the same port every time."""
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Cut every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)
        self._server = None

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self._target.port or 5432
        directory = self._target.query.get("host")
        if directory:
            return await asyncio.open_unix_connection(f"{directory}/.s.PGSQL.{port}")
        return await asyncio.open_connection(self._target.host, port)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self._connect()
        except OSError:
            writer.close()
            return
        both = {writer, far_writer}
        self._writers |= both
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        self._writers -= both


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def _plain_url(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture(params=["table", pytest.param("topic", marks=pytest.mark.kafka)])
async def either(
    request: pytest.FixtureRequest, databases: Databases, topic_prefix: str
) -> AsyncIterator[World]:
    bootstrap = None
    if request.param == "topic":
        bootstrap = request.getfixturevalue("broker").bootstrap
    async with world(databases, bootstrap, topic_prefix) as made:
        if made.kafka:
            made.start(made.relay())
            await made.until(lambda: _published(made))  # no reader starts before
        yield made


async def _published(made: World) -> bool:
    return bool(await made.fetch("SELECT 1 FROM intake.publication"))


async def paused(either: World) -> bool:
    rows = await either.fetch("SELECT 1 FROM referrals.subscriptions WHERE paused")
    return bool(rows)


async def set_pause(either: World, value: bool) -> None:
    async with either.referrals.transaction() as tx:
        await set_paused(tx, "consumer", value)


async def steps(either: World, member: Subscription[StoredEvent], count: int) -> None:
    """Let a running member go round so many times."""
    for _ in range(count):
        before = member.last_step
        await either.until(lambda before=before: _moved(member, before))


async def _moved(member: Subscription[StoredEvent], before: float) -> bool:
    return member.last_step > before


async def parked_are(either: World, count: int) -> bool:
    return len(await either.parked()) == count


async def lag_is(member: Subscription[StoredEvent], expected: int) -> bool:
    try:
        return await member.lag() == expected
    except (ConnectionError, TimeoutError):  # not connected yet
        return False
