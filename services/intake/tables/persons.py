"""Persons, the references and systems that lead to them, and their streams."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from contracts.intake import AgreementGiven
from infra.postgres.transaction import Transaction, columns
from services.intake.tables.statements import (
    ADD_PERSONS,
    ADD_REFS,
    ADD_SOURCES,
    AGREEMENTS,
    ANNOUNCED,
    FORGET,
    LOCK_PERSONS,
    REFS,
    SAME_PERSON,
    SOURCES,
)


def stream_of(person_id: UUID) -> str:
    """Return the name of a person's stream."""
    return f"person-{person_id}"


async def persons_of(tx: Transaction, refs: Collection[bytes]) -> dict[bytes, UUID]:
    """Return the persons that references lead to."""
    if not refs:
        return {}
    return {ref: person_id for ref, person_id in await tx.fetch(REFS, list(refs))}


async def add_refs(tx: Transaction, new: Mapping[bytes, UUID]) -> bool:
    """Keep references; False if somebody else was first with one of them."""
    if not new:
        return True
    return len(await tx.fetch(ADD_REFS, *columns(sorted(new.items())))) == len(new)


async def sources_of(tx: Transaction, person_ids: Collection[UUID]) -> set[tuple[UUID, bytes]]:
    """Return (person, system) for every system that may speak of these persons."""
    if not person_ids:
        return set()
    return {
        (person_id, source) for person_id, source in await tx.fetch(SOURCES, list(person_ids))
    }


async def add_sources(tx: Transaction, new: Collection[tuple[UUID, bytes]]) -> None:
    """Remember that systems may speak of persons."""
    if new:
        await tx.execute(ADD_SOURCES, *columns(sorted(new)))


async def lock_persons(tx: Transaction, person_ids: Collection[UUID]) -> set[UUID]:
    """Return the persons that exist; nobody else writes to their streams until the commit."""
    if not person_ids:
        return set()
    return {person_id for (person_id,) in await tx.fetch(LOCK_PERSONS, list(person_ids))}


async def add_persons(tx: Transaction, person_ids: Collection[UUID], at: datetime) -> None:
    """Keep new persons."""
    if person_ids:
        await tx.execute(ADD_PERSONS, list(person_ids), at)


async def agreements_of(
    tx: Transaction, person_ids: Collection[UUID]
) -> dict[UUID, frozenset[UUID]]:
    """Return the agreements that these persons ever gave."""
    agreements: dict[UUID, set[UUID]] = {}
    if person_ids:
        streams = [stream_of(person_id) for person_id in person_ids]
        for person_id, agreement_id in await tx.fetch(AGREEMENTS, streams, AgreementGiven.type):
            agreements.setdefault(person_id, set()).add(UUID(agreement_id))
    return {person_id: frozenset(ids) for person_id, ids in agreements.items()}


async def same_person(tx: Transaction, person_id: UUID) -> set[UUID]:
    """Return the ids that a person is known by, after merges."""
    return {same_id for (same_id,) in await tx.fetch(SAME_PERSON, person_id)}


async def announced(
    tx: Transaction, person_ids: Sequence[UUID], types: Sequence[str]
) -> set[tuple[UUID, str]]:
    """Return (person, type) for each event of these types that persons have."""
    rows = await tx.fetch(ANNOUNCED, [stream_of(p) for p in person_ids], types)
    return {(person_id, type_) for person_id, type_ in rows}


async def forget_persons(tx: Transaction, person_ids: Collection[UUID]) -> None:
    """Drop what leads to these persons, and what was compared of them."""
    for statement in FORGET:
        await tx.execute(statement, list(person_ids))
