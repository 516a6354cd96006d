"""A partner's answers over time, in its own words: for advisers."""

from typing import Any
from uuid import UUID

from contracts.referrals import EVENT_OF_STATUS, ReferralMoved, ReferralReceived, SpokenSealed
from contracts.registry import parse_event
from contracts.values import REFERRAL_LABELS, Author
from infra.base.missing import NotFoundError
from infra.eventstore.events import EventMetadata
from infra.eventstore.sealed import unseal
from infra.eventstore.writer import Writer
from infra.postgres.transaction import Transaction
from infra.privacy.access_log import View, log_access
from infra.privacy.restrictions import require_unlimited

_SEALED = tuple(SpokenSealed.model_fields)
_MOVES = frozenset({ReferralReceived.type, *(event.type for event in EVENT_OF_STATUS.values())})


async def show_answers(
    tx: Transaction, writer: Writer, referral_id: UUID, meta: EventMetadata
) -> list[dict[str, Any]]:
    """Return every answer to a referral, oldest first; an erased person's have no comments.

    That somebody reads comments about a person is written down first. Raises ``NotFoundError``
    for a referral that is not there, ``LimitedError`` where staff may not look.
    """
    stream = f"referral-{referral_id}"
    recorded = (await writer.store.load_many(tx, [stream])).get(stream)
    if not recorded:
        raise NotFoundError("referral")
    moves = [r for r in recorded if r.type in _MOVES]
    opened = await unseal(writer.vault, moves)
    if (person_id := recorded[0].person_id) is not None:
        await require_unlimited(tx, person_id)
        if opened:
            await log_access(tx, writer, [View(person_id, "answers", _SEALED)], meta)
    answers: list[dict[str, Any]] = []
    for stored in moves:
        event = parse_event(stored.type, stored.data, opened.get(stored.event_id))
        assert isinstance(event, ReferralMoved)
        if Author.PARTNER not in (event.author, event.on_behalf_of):
            continue
        spoken = event.sealed or SpokenSealed()
        answers.append(
            {
                "said_at": stored.occurred_at,
                "typed_in_by": stored.meta.actor if event.author is Author.ADVISER else None,
                "status": event.status,
                "label": REFERRAL_LABELS[event.status],
                "business_status": event.business_status,
                "reason": event.reason,
                "outcome": event.outcome,
                "commission_on": event.commission_on,
                "suggested_service_id": event.suggested_service_id,
                "comment": spoken.comment,
                "partner_reference": spoken.partner_reference,
            }
        )
    return answers
