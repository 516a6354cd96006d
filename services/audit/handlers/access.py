"""Pathways unmasked, and everything that is held of a person: each leaves a trace first."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from infra.base.clock import Clock, rfc3339
from infra.eventstore.events import EventMetadata
from infra.eventstore.writer import Writer
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.privacy.access_log import View, log_access
from services.audit.handlers.replay import AsOf, StoredLog
from services.audit.model.access import account, names_of
from services.audit.projections import read_pathway
from services.audit.tables import queries

PATHWAY, EVERYTHING = "pathway", "access"


@dataclass(frozen=True)
class Access:
    """Opens sealed parts for those who may see them.

    Raises ``UnknownSubjectError``, ``PathwayTooLongError``, and
    ``PersonErasedError`` where a reason would have to be sealed for somebody erased.
    """

    database: Database
    writer: Writer
    clock: Clock

    async def pathway(
        self, person_id: UUID, reason: str, meta: EventMetadata
    ) -> dict[str, Any]:
        """Return a pathway with its sealed parts, where there is still a key."""
        return await self._opened(View(person_id, PATHWAY, (), reason), meta)

    async def everything(
        self, person_id: UUID, reason: str | None, meta: EventMetadata
    ) -> dict[str, Any]:
        """Return all that is held of a person, for them (RGPD art. 15)."""
        opened = await self._opened(View(person_id, EVERYTHING, (), reason), meta)
        async with self.database.reading() as tx:
            rows = await tx.select(queries.partners_named())
        partners = names_of(orjson.loads(row.data) for row in rows)
        return {"given_at": rfc3339(self.clock())} | account(opened, partners)

    async def _opened(self, view: View, meta: EventMetadata) -> dict[str, Any]:
        log = StoredLog(self.database)
        pathway = await read_pathway(log, view.person_id, AsOf(await log.size()))
        timeline = pathway["timeline"]
        async with self.database.transaction() as tx:
            indices = [item["idx"] for item in timeline if item["sealed"]]
            sealed = await tx.select(queries.sealed_at(indices))
            keys = await self.writer.vault.keys({row.person_id for row in sealed})
            parts = {}
            for row in sealed:
                if key := keys.get(row.person_id):
                    part = key.unseal(row.event_id, row.type, row.sealed)
                    parts[row.idx] = orjson.loads(part)
            for item in timeline:
                item["personal"] = parts.get(item["idx"])
            await log_access(tx, self.writer, [view], meta)
        return pathway


async def receipts(tx: Transaction, person_id: UUID) -> list[dict[str, Any]]:
    """Return the log's receipts of a person's erasure: under which event, at which index."""
    rows = await tx.select(queries.receipts_of(person_id))
    return [
        {
            "person_id": person_id,
            "event_id": row.event_id,
            "idx": row.idx,
            "recorded_at": rfc3339(row.recorded_at),
            **orjson.loads(row.data),
        }
        for row in rows
    ]
