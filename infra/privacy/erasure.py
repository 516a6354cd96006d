"""What a service does when a person is erased: nothing of theirs stays, nothing comes back.

Each schema has a table of persons it has forgotten. Whoever writes about persons asks it first,
in the same transaction, and holds back forgetting until the commit; so a message that was under
way resurrects nothing (docs/adr/0018).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from contracts.erasure import FORGOTTEN, ErasureRequested, KeysDestroyed
from infra.eventstore.events import StoredEvent
from infra.eventstore.writer import Pending
from infra.keys.vault import Vault
from infra.postgres.ddl import script
from infra.postgres.transaction import Transaction

Handler = Callable[[Sequence[StoredEvent], Transaction], Awaitable[None]]
_LOCK_CLASS = 4713


def create_forgetting(schema: str, role: str) -> None:
    """The table, and the functions by which alone it is read and written.

    ``forgotten_among`` also waits for a forgetting under way, and keeps the next one waiting.
    ``forget`` empties sealed parts and destroys their salts: the only change that anybody may
    make to an event, for a role that may otherwise insert and read only.
    """
    lock = f"{_LOCK_CLASS}, '{schema}.forgotten'::regclass::int"
    script(
        f"""
        CREATE TABLE {schema}.forgotten (
          person_id    uuid PRIMARY KEY,
          forgotten_at timestamptz NOT NULL
        );
        CREATE FUNCTION {schema}.forgotten_among(persons uuid[]) RETURNS SETOF uuid
        LANGUAGE plpgsql AS $$
        BEGIN
          -- two statements: the second one sees what was committed before the lock was had
          PERFORM pg_advisory_xact_lock_shared({lock});
          RETURN QUERY
            SELECT person_id FROM {schema}.forgotten WHERE person_id = ANY(persons);
        END $$;
        CREATE FUNCTION {schema}.forget(persons uuid[], at timestamptz) RETURNS SETOF uuid
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = {schema} AS $$
        BEGIN
          PERFORM pg_advisory_xact_lock({lock});
          UPDATE {schema}.events SET sealed = NULL, sealed_salt = NULL
          WHERE person_id = ANY(persons) AND sealed IS NOT NULL;
          RETURN QUERY INSERT INTO {schema}.forgotten (person_id, forgotten_at)
            SELECT DISTINCT person_id, at FROM unnest(persons) AS person_id
            ON CONFLICT DO NOTHING RETURNING person_id;
        END $$;
        REVOKE ALL ON FUNCTION {schema}.forget(uuid[], timestamptz) FROM PUBLIC;
        GRANT EXECUTE ON FUNCTION {schema}.forget(uuid[], timestamptz) TO {role};
        GRANT SELECT ON {schema}.forgotten TO {role};
        CREATE INDEX events_person ON {schema}.events (person_id) WHERE sealed IS NOT NULL;
        """
    )


async def forgotten_among(tx: Transaction, persons: Collection[UUID]) -> set[UUID]:
    """Which of these the service has forgotten; none of the others is until the commit."""
    if not persons:
        return set()
    rows = await tx.fetch("SELECT forgotten_among($1)", list(persons))
    return {row[0] for row in rows}


async def forget(
    tx: Transaction, persons: Collection[UUID], now: datetime, *, parked: bool = True
) -> list[UUID]:
    """Empty the sealed parts of persons' events and drop what is ``parked`` of them.

    First in the transaction: nobody else writes about these persons until the commit. Answers
    those who had not been forgotten before.
    """
    if not persons:
        return []
    rows = await tx.fetch("SELECT forget($1, $2)", list(persons), now)
    if parked:
        keys = [str(person) for person in persons]
        await tx.execute("DELETE FROM dead_letters WHERE key = ANY($1)", keys)
    return [row[0] for row in rows]


def keys_destroyed(
    messages: Sequence[StoredEvent], vault: Vault
) -> dict[UUID | None, StoredEvent]:
    """Return the KeysDestroyed events by person.

    Side effect: evicts cached keys of persons whose erasure was requested.
    """
    requested = [m.person_id for m in messages if m.type == ErasureRequested.type]
    vault.drop(person for person in requested if person)
    return {m.person_id: m for m in messages if m.type == KeysDestroyed.type}


def forgotten_events(
    service: str, persons: Sequence[UUID], destroyed: Mapping[UUID | None, StoredEvent]
) -> list[Pending]:
    """Return a service's events that it has forgotten persons, each caused by a message."""
    forgotten = FORGOTTEN[service]
    return [
        Pending(f"erasure-{p}", [forgotten(person_id=p)], p, destroyed[p].caused())
        for p in persons
    ]


def skip_erased(handle: Handler) -> Handler:
    """A handler that gets no messages about persons whom its service has forgotten."""

    async def handle_others(messages: Sequence[StoredEvent], tx: Transaction) -> None:
        gone = await forgotten_among(tx, {m.person_id for m in messages if m.person_id})
        left = [m for m in messages if m.person_id not in gone]
        if left:
            await handle(left, tx)

    return handle_others
