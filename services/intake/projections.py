"""The read tables: last contacts, open work, and persons under a restriction."""

from collections.abc import Sequence
from uuid import UUID

from contracts import intake, referrals
from contracts.days import local_day
from contracts.erasure import ErasureRequested
from contracts.registry import parse_event
from contracts.rights import PersonArchived, PersonReactivated
from contracts.values import TRANSITIONS, CaseStatus, ReferralStatus
from infra.eventstore.events import StoredEvent
from infra.keys.vault import Vault
from infra.postgres.transaction import Transaction
from infra.privacy.restrictions import apply_restrictions
from infra.readmodels.read_tables import ReadTables
from infra.readmodels.rebuild import fold
from services.intake.tables import retention

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
"""Events that are only appended when there was a contact with the person."""
_CHANGES = {
    PersonArchived.type: retention.MARK_ARCHIVED,
    PersonReactivated.type: retention.MARK_REACTIVATED,
    ErasureRequested.type: retention.DROP,
}


async def keep_stays(tx: Transaction, messages: Sequence[StoredEvent]) -> set[UUID]:
    """Remember contacts and the cases that they open; return the ids of persons who were
    archived and came again."""
    back: set[UUID] = set()
    for message in messages:
        if message.type in CONTACTS and message.person_id:
            event = parse_event(message.type, message.data)
            site = event.site if isinstance(event, intake.ContactRecorded) else None
            # when we heard of it: a sender's clock may stand years behind
            day = local_day(message.recorded_at)
            await tx.execute(retention.KEEP, message.person_id, day, site)
            rows = await tx.fetch(retention.REACTIVATE, message.person_id)
            back |= {person_id for (person_id,) in rows}
        elif message.type == intake.NeedExpressed.type:
            need = parse_event(message.type, message.data)
            assert isinstance(need, intake.NeedExpressed)
            case_id = intake.case_id_of(need.need_id)
            await tx.execute(retention.OPENED, case_id, message.person_id)
        elif statement := _CHANGES.get(message.type):
            await tx.execute(statement, message.person_id)
    return back


async def keep_work(tx: Transaction, messages: Sequence[StoredEvent]) -> None:
    """Remember which cases and referrals are open.

    A case counts from the need that opens it (``keep_stays``): what the referral service has
    not got to yet is under way as well. Only ``CaseClosed`` ends that.
    """
    for message in messages:
        if message.type not in _WORK:
            continue
        match parse_event(message.type, message.data):
            case referrals.ReferralProposed(referral_id=work_id):
                await tx.execute(retention.OPENED, work_id, message.person_id)
            case referrals.CaseClosed(case_id=work_id, status=status) if status not in _GOES_ON:
                await tx.execute(retention.CLOSED, work_id, message.person_id)
            case referrals.ReferralMoved(referral_id=work_id, status=status) if status in _OVER:
                await tx.execute(retention.CLOSED, work_id, message.person_id)


_GOES_ON = (CaseStatus.ACTIVE, CaseStatus.ON_HOLD)
_OVER = frozenset(ReferralStatus) - {
    since for since, to in TRANSITIONS if to is not ReferralStatus.ENTERED_IN_ERROR
}
"""Nothing comes after these, but that they were an error."""
_WORK = frozenset({referrals.CaseClosed.type, referrals.ReferralProposed.type}) | {
    event.type for event in referrals.EVENT_OF_STATUS.values()
}


async def fill(tx: Transaction, _: Vault) -> int:
    """Fill the read tables from the events of the intake and of referrals."""
    count = await fold(tx, "intake", keep_stays, "retention")
    await fold(tx, "intake", apply_restrictions, "rights")
    await fold(tx, "referrals", keep_work, "cases")
    for statement in retention.DROP_FORGOTTEN:
        await tx.execute(statement)
    return count


READ_TABLES = ReadTables("intake", ("stays", "open_work", "limits"), fill, reads=("aliases",))
