"""Pathways: one person's entries, folded as of a position of the log or a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection

from contracts.base import Event
from contracts.persons import PersonMerged, PersonUnmerged
from contracts.registry import parse_event
from infra.eventstore.events import rfc3339
from infra.eventstore.upcast import upcast
from infra.limits import keep_limits
from infra.readtables import ReadTables
from infra.rebuilding import fold
from infra.vault import Vault
from services.audit import tables
from services.audit.model.pathway import Pathway, evolve, same_person
from services.audit.model.sentences import sentence, unknown_sentence

MAX_ENTRIES = 10_000
"""Entries of one person that a pathway is folded from; beyond, ask as of an earlier moment."""


class PathwayTooLongError(Exception):
    """The person has more than ``MAX_ENTRIES`` entries."""


@dataclass(frozen=True, slots=True)
class AsOf:
    """Up to which entry: those below index ``before``, recorded no later than ``moment``."""

    before: int
    moment: datetime | None = None


async def read_pathway(raw: Any, person_id: UUID, as_of: AsOf) -> dict[str, Any] | None:
    """A person's timeline and states as of then; None for a person the log never named.

    Raises ``PathwayTooLongError``.
    """
    found = await read_entries(raw, person_id, as_of)
    return folded(person_id, *found) if found else None


async def read_entries(
    raw: Any, person_id: UUID, as_of: AsOf
) -> tuple[set[UUID], list[Any]] | None:
    """The ids that a person is known by, and their entries; None for an unknown person.

    Raises ``PathwayTooLongError``.
    """
    if not await raw.fetchval(tables.PERSON_KNOWN, person_id):
        return None
    types = [PersonMerged.type, PersonUnmerged.type]
    merges = await raw.fetch(tables.MERGES, as_of.before, as_of.moment, types)
    persons = same_person(person_id, [parse_event(m["type"], m["data"]) for m in merges])
    rows = await raw.fetch(
        tables.PERSON_ENTRIES, list(persons), as_of.before, as_of.moment, MAX_ENTRIES + 1
    )
    if len(rows) > MAX_ENTRIES:
        raise PathwayTooLongError
    return persons, rows


def folded(person_id: UUID, persons: set[UUID], rows: Sequence[Any]) -> dict[str, Any]:
    """Timeline and states of a person's entries."""
    known_as = sorted(map(str, persons))
    return {"person_id": str(person_id), "persons": known_as, **_folded(rows)}


def _folded(rows: Sequence[Any]) -> dict[str, Any]:
    pathway, timeline = Pathway(), []
    for row in rows:
        event = _event(row)
        pathway = evolve(pathway, event) if event else pathway
        timeline.append(_item(row, event))
    return {"timeline": timeline, **pathway.model_dump(mode="json")}


def _event(row: Any) -> Event | None:
    """The event in today's words; None where its type or its data cannot be read."""
    try:
        return parse_event(*upcast(row["type"], row["data"]))
    except (KeyError, ValidationError):
        return None


def _item(row: Any, event: Event | None) -> dict[str, Any]:
    return {
        "idx": row["idx"],
        "person_id": str(row["person_id"]),
        "time": rfc3339(row["occurred_at"]),
        "recorded_at": rfc3339(row["recorded_at"]),
        "type": row["type"],
        "sentence": sentence(event) if event else unknown_sentence(row["type"]),
        "service": row["service"],
        "actor": row["actor"],
        "data": orjson.loads(row["data"]),
        "sealed": row["sealed"] is not None,
    }


async def _fill(tx: AsyncConnection, _: Vault) -> int:
    return await fold(tx, "intake", keep_limits, "rights")


READ_TABLES = ReadTables("audit", ("limits",), _fill)
"""What is kept beside the log; the log itself is nobody's read table."""
