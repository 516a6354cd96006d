"""A public topic without a broker: records reach the intake as a subscription brings them."""

from dataclasses import replace
from typing import Any

from contracts.requesters import Requesters
from infra.messaging.sources.base import ForeignRecord
from infra.platform import Platform
from infra.web.app import Service
from services.intake.handlers.arrivals import Intake
from services.intake.handlers.inbound import InboundValidator
from services.intake.handlers.reactions import PublicRecords
from services.intake.handlers.refused import count_refused

_TYPE = "fr.aiguillage.intake.contact.recorded.v1"


def records_of(platform: Platform, service: Service) -> PublicRecords:
    """The handler as the service wires it."""
    intake = Intake(service.database, platform.writer("intake"), platform.clock)
    vault = platform.vault
    gate = InboundValidator(vault.index, Requesters(), platform.clock)
    return PublicRecords(gate, intake, vault.master, platform.clock)


class Topic:
    """Hands records to the handler as the subscription would."""

    def __init__(self, records: PublicRecords, service: Service) -> None:
        self.records = records
        self.service = service

    async def deliver(self, *given: ForeignRecord) -> None:
        numbered = [replace(record, offset=n) for n, record in enumerate(given)]
        async with self.service.database.transaction() as tx:
            await self.records.handle(numbered, tx)

    async def replay(self) -> int:
        async with self.service.database.transaction() as tx:
            return await self.records.replay_refused(tx)

    async def rows(self, query: str) -> list[Any]:
        async with self.service.database.reading() as connection:
            return list(await connection.fetch(query))

    async def refused(self) -> list[tuple[int, str, list[str], int]]:
        rows = await self.rows(
            'SELECT "offset", reason, fields, attempts FROM refused_records ORDER BY 1'
        )
        return [tuple(row) for row in rows]

    async def counts(self) -> dict[str, int]:
        async with self.service.database.reading() as connection:
            return await count_refused(connection)

    async def contacts(self) -> int:
        rows = await self.rows(f"SELECT 1 FROM events WHERE type = '{_TYPE}'")
        return len(rows)
