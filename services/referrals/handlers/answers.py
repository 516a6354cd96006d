"""What a partner answered over time, in its own words: for advisers."""

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from contracts.referrals import EVENT_OF_STATUS, ReferralMoved, ReferralReceived, SpokenSealed
from contracts.registry import parse_event
from contracts.values import REFERRAL_LABELS, Author
from infra.base.missing import NotFoundError
from infra.eventstore.events import EventMetadata, StoredEvent
from infra.eventstore.sealed import unseal
from infra.eventstore.writer import Writer
from infra.postgres.transaction import Transaction
from infra.privacy.access_log import View, log_access
from infra.privacy.restrictions import require_unlimited

_WORDS = tuple(SpokenSealed.model_fields)
_MOVES = frozenset({ReferralReceived.type, *(event.type for event in EVENT_OF_STATUS.values())})


async def show_answers(
    tx: Transaction, writer: Writer, referral_id: UUID, meta: EventMetadata
) -> list[dict[str, Any]]:
    """Every answer to a referral, oldest first; words are missing where the person was erased.

    That somebody reads words about a person is written down first. Raises ``NotFoundError`` for
    a referral that is not there, ``LimitedError`` where staff may not look.
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
            await log_access(tx, writer, [View(person_id, "answers", _WORDS)], meta)
    return list(_answers(moves, opened))


def _answers(
    moves: Sequence[StoredEvent], opened: dict[UUID, bytes]
) -> Iterator[dict[str, Any]]:
    for recorded in moves:
        event = parse_event(recorded.type, recorded.data, opened.get(recorded.event_id))
        assert isinstance(event, ReferralMoved)
        if Author.PARTNER in (event.author, event.on_behalf_of):
            yield _shown(recorded, event, event.sealed or SpokenSealed())


def _shown(recorded: StoredEvent, event: ReferralMoved, words: SpokenSealed) -> dict[str, Any]:
    return {
        "said_at": recorded.occurred_at,
        "typed_in_by": recorded.meta.actor if event.author is Author.ADVISER else None,
        "status": event.status,
        "label": REFERRAL_LABELS[event.status],
        "business_status": event.business_status,
        "reason": event.reason,
        "outcome": event.outcome,
        "commission_on": event.commission_on,
        "suggested_service_id": event.suggested_service_id,
        "comment": words.comment,
        "partner_reference": words.partner_reference,
    }
