"""Core selects: what routes list and look up."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Select, Text, any_, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from contracts.erasure import PersonErased
from contracts.partners import PartnerRegistered
from services.audit.tables.schema import ENTRIES

_DATA = cast(ENTRIES.c.data, Text).label("data")


def entries_page(start: int, limit: int, most_bytes: int) -> Select[Any]:
    """Select as many entries as asked for, or as fit into so many bytes; one in any case."""
    size = func.octet_length(_DATA) + func.coalesce(func.octet_length(ENTRIES.c.sealed), 0)
    page = (
        select(
            ENTRIES.c.idx,
            ENTRIES.c.position,
            ENTRIES.c.entry,
            ENTRIES.c.leaf_hash,
            ENTRIES.c.salt,
            ENTRIES.c.sealed_salt,
            ENTRIES.c.header,
            _DATA,
            ENTRIES.c.sealed,
            func.sum(size, type_=BigInteger).over(order_by=ENTRIES.c.idx).label("bytes"),
        )
        .where(ENTRIES.c.idx >= start)
        .order_by(ENTRIES.c.idx)
        .limit(limit)
        .subquery()
    )
    fits = or_(page.c.bytes <= most_bytes, page.c.idx == start)
    return select(page).where(fits).order_by(page.c.idx)


def entry_of(event_id: UUID) -> Select[Any]:
    """Select index and bytes of an event's entry."""
    return select(ENTRIES.c.idx, ENTRIES.c.entry).where(ENTRIES.c.event_id == event_id)


def leaf_hash_at(index: int) -> Select[Any]:
    """Select the leaf hash of an entry."""
    return select(ENTRIES.c.leaf_hash).where(ENTRIES.c.idx == index)


def span_between(since: datetime, until: datetime, size: int) -> Select[Any]:
    """Select first index, and index after the last, of what was recorded in a time."""
    recorded = ENTRIES.c.recorded_at
    return select(
        func.coalesce(func.min(ENTRIES.c.idx), 0).label("start"),
        func.coalesce(func.max(ENTRIES.c.idx) + 1, 0).label("stop"),
    ).where(ENTRIES.c.idx < size, recorded >= since, recorded <= until)


def sealed_at(indices: list[int]) -> Select[Any]:
    """Select the sealed parts of these entries, where there still are any."""
    wanted = literal(indices, ARRAY(BigInteger))
    return select(
        ENTRIES.c.idx,
        ENTRIES.c.event_id,
        ENTRIES.c.type,
        ENTRIES.c.person_id,
        ENTRIES.c.sealed,
    ).where(ENTRIES.c.idx == any_(wanted), ENTRIES.c.sealed.is_not(None))


def partners_named() -> Select[Any]:
    """Select the registrations of partners, oldest first: they hold the names."""
    # written out, so that the partial index on them is used
    registered = ENTRIES.c.type == literal(PartnerRegistered.type, literal_execute=True)
    return select(_DATA).where(registered).order_by(ENTRIES.c.idx)


def receipts_of(person_id: UUID) -> Select[Any]:
    """Select the receipts of a person's erasure."""
    return (
        select(ENTRIES.c.event_id, ENTRIES.c.idx, ENTRIES.c.recorded_at, _DATA)
        .where(ENTRIES.c.person_id == person_id, ENTRIES.c.type == PersonErased.type)
        .order_by(ENTRIES.c.idx)
    )
