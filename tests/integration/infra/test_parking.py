"""Parking asks nothing of a message: whatever is in a table or on a topic, reading goes on."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.base.clock import rfc3339
from infra.eventstore.events import StoredEvent
from infra.messaging.dead_letters import MAX_KEPT_BYTES, MAX_KEY, DeadLetters, lane
from infra.messaging.sources.base import Message
from infra.messaging.sources.postgres import PostgresSource
from infra.messaging.subscription import Subscription
from infra.postgres.errors import MAX_ERROR, describe
from infra.postgres.transaction import Transaction
from services.hub.demo.kafka_broker import Broker
from tests.support.postgres import Databases
from tests.support.sources import EVENT_TYPE, World, world, write_effects

NOW = "2026-05-04T03:02:01Z"
ENDS = ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59Z"]
BEYOND = ["infinity", "-infinity", "4712-01-01 BC", "290000-01-01"]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime.min.replace(tzinfo=UTC).replace(tzinfo=None), "0001-01-01T00:00:00.000000Z"),
        (
            datetime.max.replace(tzinfo=UTC).replace(tzinfo=None),
            "9999-12-31T23:59:59.999999Z",
        ),
        (datetime.min.replace(tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
        (
            datetime.min.replace(tzinfo=timezone(timedelta(hours=2))),
            "0001-01-01T00:00:00.000000Z",
        ),
        (
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-2))),
            "9999-12-31T23:59:59.999999Z",
        ),
        (datetime(2026, 5, 4, 3, tzinfo=timezone(timedelta(hours=2))),
         "2026-05-04T01:00:00.000000Z"),
    ],
)  # fmt: skip
def test_every_moment_has_a_text(moment: datetime, text: str) -> None:
    assert rfc3339(moment) == text


Row = tuple[UUID, str, str, str]


async def insert_rows(hub: World, rows: Sequence[Row]) -> None:
    """Rows as no code of ours writes them: person, moment, meta, data."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    await hub.fetch(
        "INSERT INTO intake.events (event_id, stream, version, type, person_id, occurred_at, "
        "recorded_at, data, meta, salt, entry) "
        "SELECT gen_random_uuid(), 's-' || n, 1, $1, person, moment::timestamptz, now(), "
        "data::json, meta::json, sha256('salt'), '' "
        "FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[]) "
        "WITH ORDINALITY AS new (person, moment, meta, data, n) ORDER BY n",
        EVENT_TYPE, *columns,
    )  # fmt: skip


async def insert(
    hub: World, person: UUID, moment: str = NOW, *, meta: str = "{}", n: object = 1
) -> None:
    """One such row, in a stream of its own."""
    await hub.fetch("UPDATE intake.events SET stream = 'before-' || position")
    await insert_rows(hub, [(person, moment, meta, json.dumps({"n": n}))])


async def drained(member: Subscription[Any]) -> None:
    """Step until nothing is left; nothing may stop it."""
    await member.source.start(member)
    for _ in range(200):
        batches = await member.step()
        if not batches and await member.lag() == 0:
            break
    await member.source.stop()
    assert await member.lag() == 0


def failing_at_the_ends(hub: World) -> Subscription[StoredEvent]:
    """A handler that reckons with the moment, as deadlines and retention do."""

    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        for event in events:
            event.occurred_at.astimezone(UTC) - timedelta(days=1) + timedelta(days=2)
        await write_effects(events, tx)

    return hub.subscription(handle)


@pytest.fixture
def bootstrap() -> None:
    """None: the readers follow the table."""


@pytest.mark.parametrize("moment", [*ENDS, *BEYOND])
async def test_a_moment_at_the_calendars_end_parks_its_person_and_nobody_else(
    hub: World, moment: str
):
    somebody, other = uuid4(), uuid4()
    await insert(hub, somebody, moment)
    await insert(hub, somebody, n=2)
    await insert(hub, other, n=3)
    await drained(failing_at_the_ends(hub))
    assert await hub.parked() == [(str(somebody), 1), (str(somebody), 2)]
    assert await hub.effects() == [(str(other), 3)]


@pytest.mark.parametrize(
    "meta", ['{"actor": "hub", "unknown": 1}', '{"causation_id": "no"}', "[]", '"x"', "null"]
)
async def test_a_row_that_cannot_be_read_is_parked_by_its_place_and_replayed_once_repaired(
    hub: World, meta: str
):
    somebody, other = uuid4(), uuid4()
    await insert(hub, somebody, meta=meta)
    await insert(hub, somebody, n=2)
    await insert(hub, other, n=3)
    member = hub.subscription()
    await drained(member)
    rows = await hub.fetch("SELECT * FROM referrals.dead_letters ORDER BY position")
    assert [(r["key"], r["offset"], r["record"] == b"") for r in rows] == [
        (str(somebody), 1, True),
        (str(somebody), 2, False),
    ]
    assert await hub.effects() == [(str(other), 3)]
    assert await member.replay() == 2
    await hub.fetch("UPDATE intake.events SET meta = '{}' WHERE position = 1")
    assert await member.replay() == 0
    assert await hub.effects() == [(str(other), 3), (str(somebody), 1), (str(somebody), 2)]


class LongError(Exception):
    pass


class MuteError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


LongError.__module__ = MuteError.__module__ = "services.test"


@pytest.mark.parametrize(
    "error", [LongError("a\0b\ud800" * 500), MuteError(), RecursionError("x" * 2000)]
)
async def test_any_error_can_be_parked_with(hub: World, error: Exception):
    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        raise error

    await insert(hub, uuid4())
    await drained(hub.subscription(handle))
    (row,) = await hub.fetch("SELECT error FROM referrals.dead_letters")
    assert 0 < len(row["error"]) <= MAX_ERROR
    assert row["error"] == describe(error)


@pytest.mark.parametrize("key", ["k" * (MAX_KEY + 1), "é" * 5000, "a\0b", "\ud800"])
async def test_any_key_can_be_parked_and_waited_behind(hub: World, key: str):
    source = PostgresSource(hub.referrals, "intake")
    letters: DeadLetters[StoredEvent] = DeadLetters("consumer", source)
    async with hub.referrals.transaction() as tx:
        await letters.park(tx, 0, Message(1, key, None, 1), "x")
        assert await letters.keys(tx, {key, "other"}) == {key}
    assert lane(key) != key
    assert lane("person-1") == "person-1"


async def test_an_event_too_large_to_be_copied_is_parked_by_its_place(hub: World):
    async def handle(events: Sequence[StoredEvent], tx: Transaction) -> None:
        raise KeyError

    await insert(hub, uuid4(), n="1" + " " * MAX_KEPT_BYTES)
    member = hub.subscription(handle)
    await drained(member)
    (row,) = await hub.fetch("SELECT record FROM referrals.dead_letters")
    assert row["record"] == b""
    member.handle = write_effects
    assert await member.replay() == 0
    assert [n for _, n in await hub.effects()] == [1]


MOMENTS = st.sampled_from([*ENDS, *BEYOND, NOW, "1970-01-01T00:00:00Z"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab\n\u2028é", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("nx"), inner),
    max_leaves=4,
)
METAS = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {}, optional={"actor": JSON, "causation_id": JSON, "correlation_id": JSON}
    ),
)
ROWS = st.tuples(
    st.integers(0, 4),
    MOMENTS,
    METAS,
    st.one_of(JSON, st.fixed_dictionaries({"n": st.integers(1, 10**6)})),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, min_size=1, max_size=30))
async def test_whatever_rows_say_what_is_sound_is_applied_and_the_rest_is_parked(
    hub: World, rows: list[tuple[int, str, Any, Any]]
):
    await hub.fetch("TRUNCATE intake.events, referrals.offsets, referrals.dead_letters, "
                    "referrals.effects RESTART IDENTITY CASCADE")  # fmt: skip
    everybody = [uuid4() for _ in range(5)]
    dumped = [(everybody[p], m, json.dumps(meta), json.dumps(d)) for p, m, meta, d in rows]
    await insert_rows(hub, dumped)
    member = failing_at_the_ends(hub)
    await drained(member)
    assert await hub.standing() == [(len(rows) + 1, len(rows))]
    parked = {position for _, position in await hub.parked()}
    applied = len(await hub.effects())
    assert applied + len(parked) == len(rows)
    waiting: set[int] = set()
    for position, row in enumerate(rows, 1):
        if position in parked:
            waiting.add(row[0])
        else:
            assert row[0] not in waiting
            assert sound(row)
        if not sound(row):
            assert position in parked


def sound(row: tuple[int, str, Any, Any]) -> bool:
    _, moment, meta, data = row
    return (
        moment not in (*ENDS, *BEYOND)
        and isinstance(meta, dict)
        and set(meta) <= {"actor", "causation_id", "correlation_id"}
        and not (meta.get("causation_id") or meta.get("correlation_id"))
        and isinstance(meta.get("actor"), str | None)
        and isinstance(data, dict)
        and isinstance(data.get("n"), int)
        and abs(data["n"]) < 2**31
    )


@pytest.mark.kafka
async def test_a_relay_parks_what_cannot_be_read_and_publishes_everybody_elses(
    databases: Databases, topic_prefix: str, broker: Broker
):
    """A moment at the calendar's end travels; readers of the topic miss nothing."""
    somebody, others = uuid4(), [uuid4() for _ in range(20)]
    async with world(databases, broker.bootstrap, topic_prefix) as made:
        rows = [(somebody, NOW, "[]", '{"n": 1}'), (somebody, NOW, "{}", '{"n": 2}')]
        rows += [
            (other, moment, "{}", '{"n": 3}') for other in others for moment in (NOW, *ENDS)
        ]
        rows += [(others[0], "infinity", "{}", '{"n": 4}')]
        await insert_rows(made, rows)
        made.start(made.relay())
        made.start(made.subscription())
        await made.until(lambda: _effects(made, len(rows) - 2))
        parked = await made.fetch("SELECT key, position FROM intake.dead_letters ORDER BY 2")
        assert [tuple(row) for row in parked] == [(str(somebody), 1), (str(somebody), 2)]
        assert await made.parked() == []


async def _effects(hub: World, count: int) -> bool:
    return len(await hub.effects()) == count
