"""The read tables: who was here when, and whom a limit concerns."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from contracts import intake
from contracts.days import local_day
from contracts.erasure import ErasureRequested
from contracts.registry import parse_event
from contracts.rights import PersonArchived, PersonReactivated
from infra.database import driver
from infra.eventstore.events import Recorded
from infra.limits import keep_limits
from infra.readtables import ReadTables
from infra.rebuilding import fold
from infra.vault import Vault
from services.intake.tables import Raw, retention

CONTACTS = frozenset(
    event.type
    for event in (
        intake.PersonRegistered,
        intake.PersonIdentified,
        intake.FactsStated,
        intake.ContactRecorded,
        intake.AgreementGiven,
        intake.AgreementWithdrawn,
    )
)
"""What is only ever said when there was a contact with the person."""
_CHANGES = {
    PersonArchived.type: retention.MARK_ARCHIVED,
    PersonReactivated.type: retention.MARK_REACTIVATED,
    ErasureRequested.type: retention.DROP,
}


async def keep_stays(tx: AsyncConnection, messages: Sequence[Recorded]) -> set[UUID]:
    """Remember contacts; answers who was archived and came again, under all their ids."""
    raw = await driver(tx)
    back: set[UUID] = set()
    for message in messages:
        if message.type in CONTACTS and message.person_id:
            back |= await _contact(raw, message)
        elif statement := _CHANGES.get(message.type):
            await raw.execute(statement, message.person_id)
    return back


async def _contact(raw: Raw, message: Recorded) -> set[UUID]:
    event = parse_event(message.type, message.data)
    site = event.site if isinstance(event, intake.ContactRecorded) else None
    await raw.execute(retention.KEEP, message.person_id, local_day(message.occurred_at), site)
    rows = await raw.fetch(retention.REACTIVATE, message.person_id)
    return {UUID(int=row["person_id"].int) for row in rows}


async def _fill(tx: AsyncConnection, _: Vault) -> int:
    count = await fold(tx, "intake", keep_stays, "retention")
    await fold(tx, "intake", keep_limits, "rights")
    await (await driver(tx)).execute(retention.DROP_FORGOTTEN)
    return count


READ_TABLES = ReadTables("intake", ("stays", "limits"), _fill, reads=("aliases",))
