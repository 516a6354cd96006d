"""Events that came before: each is taken once."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from infra.postgres.transaction import Transaction, columns
from services.intake.tables.statements import INBOX, RECEIVE


class Received(NamedTuple):
    """An event that came before: its person, its content as a digest, and what it created.

    Nothing of it is known any more once the person is erased.
    """

    person_id: UUID
    digest: bytes
    created: bytes


async def received(tx: Transaction, keys: Collection[bytes]) -> dict[bytes, Received | None]:
    """Return what is known of these events; None: they came, and the person is erased."""
    rows = await tx.fetch(INBOX, list(keys))
    return {
        key: Received(person_id, digest, created) if person_id else None
        for key, person_id, digest, created in rows
    }


async def receive(tx: Transaction, new: Mapping[bytes, Received], at: datetime) -> bool:
    """Remember events; False if somebody else was first with one of them."""
    rows = [(key, *new[key]) for key in sorted(new)]
    return len(await tx.fetch(RECEIVE, *columns(rows, 4), at)) == len(rows)
