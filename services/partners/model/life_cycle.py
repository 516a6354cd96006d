"""The state of a referral as its partner can know it, folded from events."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from contracts.base import Event
from contracts.referrals import (
    AnswerRefused,
    AppointmentEnded,
    AppointmentSet,
    ReferralMoved,
    ReferralProposed,
    ReferralRequested,
)
from contracts.values import ReferralStatus

OPEN = frozenset(
    {
        ReferralStatus.REQUESTED,
        ReferralStatus.ACCEPTED,
        ReferralStatus.IN_PROGRESS,
        ReferralStatus.ON_HOLD,
    }
)
"""States in which a partner may still act."""


@dataclass(slots=True)
class StateChange:
    """Change of one referral by a batch of events.

    ``origin`` creates the row; ``settles``: somebody other than the partner moved it, so what
    the partner asked before no longer counts; ``answers``: those dealt with; ``appointed``:
    something was said of its appointment.
    """

    status: ReferralStatus | None
    version: int
    origin: ReferralProposed | ReferralRequested | None = None
    settles: bool = False
    answers: set[UUID] = field(default_factory=set)
    commission_on: date | None = None
    appointed: bool = False
    appointment_at: datetime | None = None


def fold_states(events: Sequence[tuple[int, Event]]) -> dict[UUID, StateChange]:
    """Return referral id → its newest state, from (stream version, event) in order."""
    changes: dict[UUID, StateChange] = {}
    for version, event in events:
        match event:
            case ReferralProposed() | ReferralRequested():
                proposed = isinstance(event, ReferralProposed)
                status = ReferralStatus.DRAFT if proposed else ReferralStatus.REQUESTED
                change = changes.setdefault(event.referral_id, StateChange(status, version))
                change.origin = change.origin or event
                change.status = status
                if isinstance(event, ReferralRequested) and event.appointment_at:
                    _appoint(change, event.appointment_at)
            case ReferralMoved() | AnswerRefused():
                change = changes.setdefault(
                    event.referral_id, StateChange(event.status, version)
                )
                change.status = event.status
                if event.answer_id is None:
                    change.settles = True
                else:
                    change.answers.add(event.answer_id)
                if isinstance(event, ReferralMoved):
                    change.commission_on = event.commission_on or change.commission_on
            case AppointmentSet() | AppointmentEnded():
                change = changes.setdefault(event.referral_id, StateChange(None, version))
                ahead = isinstance(event, AppointmentSet)
                _appoint(change, event.starts_at if ahead else None)
            case _:
                continue
        change.version = version
    return changes


def _appoint(change: StateChange, at: datetime | None) -> None:
    change.appointed, change.appointment_at = True, at
