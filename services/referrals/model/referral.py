"""How one referral moves: the guard over the one table of states. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from contracts.base import Event
from contracts.referrals import (
    EVENT_OF_STATUS,
    AnswerRefused,
    AppointmentSet,
    CommentSealed,
    ReferralMoved,
    ReferralProposed,
    ReferralReceived,
    ReferralRequested,
)
from contracts.values import (
    AUTHOR_OF_REASON,
    COMMENT_REQUIRED,
    TRANSITIONS,
    Author,
    BusinessStatus,
    PartnerKind,
    Reason,
    ReferralStatus,
)
from contracts.webhooks import NEEDS_REASON

_FINAL = frozenset(
    {
        ReferralStatus.REJECTED,
        ReferralStatus.CANCELLED,
        ReferralStatus.COMPLETED,
        ReferralStatus.FAILED,
        ReferralStatus.ENTERED_IN_ERROR,
    }
)


class ForbiddenTransitionError(Exception):
    """The state table has no such step for this author; nothing changes."""

    def __init__(self, current: ReferralStatus, asked: ReferralStatus, author: Author) -> None:
        super().__init__(f"{author} may not move a referral from {current} to {asked}")
        self.current, self.asked, self.author = current, asked, author


class InvalidMoveError(Exception):
    """A step without the reason, comment or outcome that it needs."""

    def __init__(self, field_name: str, detail: str) -> None:
        super().__init__(f"{field_name}: {detail}")
        self.field, self.detail = field_name, detail


@dataclass(frozen=True, slots=True)
class Referral:
    """A referral, folded from its events."""

    referral_id: UUID
    case_id: UUID
    person_id: UUID
    partner_id: str
    partner_kind: PartnerKind
    service_id: str
    replaces: UUID | None = None
    status: ReferralStatus = ReferralStatus.DRAFT
    agreement_id: UUID | None = None
    version: int = 1

    @classmethod
    def of(cls, event: ReferralProposed) -> "Referral":
        """The draft."""
        return cls(
            event.referral_id, event.case_id, event.person_id, event.partner_id,
            event.partner_kind, event.service_id, event.replaces,
        )  # fmt: skip

    @property
    def open(self) -> bool:
        """Whether something may still happen to it."""
        return self.status not in _FINAL


def evolve_referral(referral: Referral | None, event: Event) -> Referral | None:
    """The referral after an event."""
    if isinstance(event, ReferralProposed):
        return Referral.of(event)
    if referral is None:
        return None
    referral = replace(referral, version=referral.version + 1)
    if isinstance(event, ReferralRequested):
        return replace(
            referral, status=ReferralStatus.REQUESTED, agreement_id=event.agreement_id
        )
    if isinstance(event, ReferralMoved):
        return replace(referral, status=event.status)
    return referral


@dataclass(frozen=True, slots=True)
class Move:
    """A step that somebody asks for."""

    status: ReferralStatus
    author: Author
    reason: Reason | None = None
    comment: str | None = None
    outcome: str | None = None
    business_status: BusinessStatus | None = None
    appointment_at: datetime | None = None
    answer_id: UUID | None = None
    on_behalf_of: Author | None = None


def check_move(current: ReferralStatus, move: Move) -> None:
    """Raise ``ForbiddenTransitionError`` or ``InvalidMoveError`` unless the step is allowed."""
    author = move.on_behalf_of or move.author
    if move.status is current:
        if author is not Author.PARTNER or move.business_status is None or current in _FINAL:
            raise ForbiddenTransitionError(current, move.status, author)
        if current is ReferralStatus.DRAFT:
            raise ForbiddenTransitionError(current, move.status, author)
        return
    if author not in TRANSITIONS.get((current, move.status), ()):
        raise ForbiddenTransitionError(current, move.status, author)
    _check_words(move, author)


def _check_words(move: Move, author: Author) -> None:
    if move.status in NEEDS_REASON and move.reason is None:
        raise InvalidMoveError("reason", "this status needs a reason")
    if move.reason is not None and author not in AUTHOR_OF_REASON[move.reason]:
        raise InvalidMoveError("reason", f"{author} may not give this reason")
    if move.reason in COMMENT_REQUIRED and not move.comment:
        raise InvalidMoveError("comment", "this reason needs a comment")
    if move.status is ReferralStatus.COMPLETED and not move.outcome:
        raise InvalidMoveError("outcome", "completed needs an outcome")


def move_referral(referral: Referral, move: Move) -> tuple[Event, ...]:
    """The events of an allowed step; raises as ``check_move`` does."""
    check_move(referral.status, move)
    same = move.status is referral.status
    kind = ReferralReceived if same else EVENT_OF_STATUS[move.status]
    moved = kind(
        referral_id=referral.referral_id,
        case_id=referral.case_id,
        status=move.status,
        author=move.author,
        on_behalf_of=move.on_behalf_of,
        business_status=move.business_status,
        reason=move.reason,
        outcome=move.outcome,
        answer_id=move.answer_id,
        sealed=CommentSealed(comment=move.comment) if move.comment else None,
    )
    if move.appointment_at is None:
        return (moved,)
    appointment = AppointmentSet(
        referral_id=referral.referral_id,
        case_id=referral.case_id,
        starts_at=move.appointment_at,
    )
    return (moved, appointment)


def refuse_answer(referral: Referral, move: Move, problem: str) -> AnswerRefused:
    """The record of a partner's answer that the state table does not allow."""
    assert move.answer_id is not None
    return AnswerRefused(
        referral_id=referral.referral_id,
        answer_id=move.answer_id,
        status=referral.status,
        asked=move.status,
        problem=problem,
    )
