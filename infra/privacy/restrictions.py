"""Persons with whose data less may be done: restricted (RGPD art. 18), or archived.

Each service keeps its own table of them, from what the intake says.
"""

from collections.abc import Collection, Sequence
from enum import StrEnum
from uuid import UUID

from contracts.erasure import KeysDestroyed
from contracts.rights import (
    PersonArchived,
    PersonReactivated,
    PersonRestricted,
    PersonUnrestricted,
)
from infra.eventstore.events import StoredEvent
from infra.postgres.ddl import script
from infra.postgres.transaction import Transaction


class ProcessingRestriction(StrEnum):
    """What is limited."""

    RESTRICTED = "restricted"
    """Nothing is done with the person's data but keeping them."""
    ARCHIVED = "archived"
    """Only whoever answers for personal data looks at them."""


class LimitedError(Exception):
    """The person is restricted or archived; the caller may not do this."""

    def __init__(self, limit: ProcessingRestriction) -> None:
        super().__init__(limit.value)
        self.limit = limit


_BEGINS = {
    PersonRestricted.type: ProcessingRestriction.RESTRICTED,
    PersonArchived.type: ProcessingRestriction.ARCHIVED,
}
_ENDS = {
    PersonUnrestricted.type: ProcessingRestriction.RESTRICTED,
    PersonReactivated.type: ProcessingRestriction.ARCHIVED,
}


def create_limits(schema: str, role: str) -> None:
    """The table."""
    script(
        f"""
        CREATE TABLE {schema}.limits (
          person_id uuid NOT NULL,
          kind      text NOT NULL CHECK (kind IN ('restricted', 'archived')),
          since     timestamptz NOT NULL,
          PRIMARY KEY (person_id, kind)
        );
        GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON {schema}.limits TO {role};
        """
    )


async def apply_restrictions(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    """Bring the table up to date with what the intake said, in order.

    Who is erased has no limits: there is nothing left to limit.
    """
    for message in messages:
        if limit := _BEGINS.get(message.type):
            await tx.execute(
                "INSERT INTO limits (person_id, kind, since) VALUES ($1, $2, $3) "
                "ON CONFLICT DO NOTHING",
                message.person_id,
                limit,
                message.occurred_at,
            )
        elif limit := _ENDS.get(message.type):
            await tx.execute(
                "DELETE FROM limits WHERE person_id = $1 AND kind = $2",
                message.person_id,
                limit,
            )
        elif message.type == KeysDestroyed.type:
            await tx.execute("DELETE FROM limits WHERE person_id = $1", message.person_id)


async def limited_among(
    tx: Transaction, persons: Collection[UUID], limit: ProcessingRestriction
) -> set[UUID]:
    """Which of these persons a limit concerns."""
    rows = await tx.fetch(
        "SELECT person_id FROM limits WHERE person_id = ANY($1::uuid[]) AND kind = $2",
        list(persons),
        limit,
    )
    return {row["person_id"] for row in rows}


async def require_unlimited(tx: Transaction, person_id: UUID) -> None:
    """Raise ``LimitedError`` unless staff may look at a person, and do something with them."""
    kind = await tx.fetchval(
        "SELECT kind FROM limits WHERE person_id = $1 ORDER BY kind LIMIT 1", person_id
    )
    if kind:
        raise LimitedError(ProcessingRestriction(kind))
