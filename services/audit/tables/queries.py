"""Core selects: what routes list and look up."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Select, Text, any_, cast, func, literal, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from contracts.erasure import PersonErased
from contracts.partners import PartnerRegistered
from services.audit.tables.schema import entries

_DATA = cast(entries.c.data, Text).label("data")


def entries_page(start: int, limit: int, most_bytes: int) -> Select[Any]:
    """Select as many entries as asked for, or as fit into so many bytes; one in any case."""
    size = func.octet_length(_DATA) + func.coalesce(func.octet_length(entries.c.sealed), 0)
    page = (
        select(
            entries.c.idx,
            entries.c.position,
            entries.c.entry,
            entries.c.leaf_hash,
            entries.c.salt,
            entries.c.sealed_salt,
            entries.c.header,
            _DATA,
            entries.c.sealed,
            func.sum(size, type_=BigInteger).over(order_by=entries.c.idx).label("bytes"),
        )
        .where(entries.c.idx >= start)
        .order_by(entries.c.idx)
        .limit(limit)
        .subquery()
    )
    fits = or_(page.c.bytes <= most_bytes, page.c.idx == start)
    return select(page).where(fits).order_by(page.c.idx)


def entry_of(event_id: UUID) -> Select[Any]:
    """Select index and bytes of an event's entry."""
    return select(entries.c.idx, entries.c.entry).where(entries.c.event_id == event_id)


def leaf_hash_at(index: int) -> Select[Any]:
    """Select the leaf hash of an entry."""
    return select(entries.c.leaf_hash).where(entries.c.idx == index)


def span_between(since: datetime, until: datetime, size: int) -> Select[Any]:
    """Select first index, and index after the last, of what was recorded in a time."""
    recorded = entries.c.recorded_at
    return select(
        func.coalesce(func.min(entries.c.idx), 0).label("start"),
        func.coalesce(func.max(entries.c.idx) + 1, 0).label("stop"),
    ).where(entries.c.idx < size, recorded >= since, recorded <= until)


def sealed_at(indices: list[int]) -> Select[Any]:
    """Select the sealed parts of these entries, where there still are any."""
    wanted = literal(indices, ARRAY(BigInteger))
    return select(
        entries.c.idx,
        entries.c.event_id,
        entries.c.type,
        entries.c.person_id,
        entries.c.sealed,
    ).where(entries.c.idx == any_(wanted), entries.c.sealed.is_not(None))


def partners_named() -> Select[Any]:
    """Select the registrations of partners, oldest first: they hold the names."""
    # written out, so that the partial index on them is used
    registered = entries.c.type == literal(PartnerRegistered.type, literal_execute=True)
    return select(_DATA).where(registered).order_by(entries.c.idx)


def receipts_of(person_id: UUID) -> Select[Any]:
    """Select the receipts of a person's erasure."""
    return (
        select(entries.c.event_id, entries.c.idx, entries.c.recorded_at, _DATA)
        .where(entries.c.person_id == person_id, entries.c.type == PersonErased.type)
        .order_by(entries.c.idx)
    )
