"""What an adviser does with a case: choose otherwise, refuse, propose again, close. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from contracts.base import Event
from contracts.referrals import (
    CaseClosed,
    CommentSealed,
    ProposalChanged,
    ProposalRefused,
    ReferralProposed,
)
from contracts.values import Author, CaseStatus, ReferralStatus
from services.referrals.model.case import (
    Attempts,
    Case,
    Changes,
    DecisionContext,
    Next,
    Versioned,
)
from services.referrals.model.case_flow import (
    draft,
    exhausted,
    make_proposal,
    next_referral,
    request,
    supersede,
)
from services.referrals.model.referral import InvalidMoveError, Move, Referral, move_referral


class CaseClosedError(Exception):
    """The case has ended: nothing more is decided in it."""


class AlreadyTriedError(Exception):
    """The service was asked before in this case, and said no."""


class UnknownServiceError(Exception):
    """The directory has no such service."""


def _check_active(case: Case) -> None:
    if case.status is not CaseStatus.ACTIVE:
        raise CaseClosedError(case.status)


def choose(
    case: Case,
    tried: Attempts,
    service_ids: Sequence[str],
    world: DecisionContext,
    by: str,
    comment: str,
    appointment_at: datetime | None = None,
) -> Changes:
    """Send the case to other services than proposed; several: the first to accept has it.

    Drafts that were not chosen are dropped. A service that has answered too late may be chosen
    again, as a new referral that replaces the old one; no other twice. Raises
    ``CaseClosedError``, ``UnknownServiceError``, ``AlreadyTriedError``,
    ``AgreementMissingError``.
    """
    _check_active(case)
    assert case.proposal_id is not None
    replaced = {s: _replaced(tried, s, world) for s in service_ids}
    changed = ProposalChanged(
        proposal_id=case.proposal_id,
        case_id=case.case_id,
        service_ids=list(service_ids),
        changed_by=by,
        sealed=CommentSealed(comment=comment),
    )
    count, offers = len(tried.referrals), []
    for number, (service_id, old) in enumerate(replaced.items(), start=count + 1):
        proposed = draft(case, world.services[service_id], number, world.today, old)
        offers.append(_sent(case, proposed, world, by, appointment_at))
    return Changes((changed,), tuple(offers)) + _drop_drafts(tried, world)


def _replaced(tried: Attempts, service_id: str, world: DecisionContext) -> UUID | None:
    """The referral that a choice replaces; raises if the service may not be chosen."""
    if service_id not in world.services:
        raise UnknownServiceError(service_id)
    sent = ReferralStatus.DRAFT, ReferralStatus.ENTERED_IN_ERROR
    before = [r for r in tried.referrals if r.service_id == service_id and r.status not in sent]
    if not before:
        return None
    if before[-1].open or not before[-1].late_yes:
        raise AlreadyTriedError(service_id)
    return before[-1].referral_id


def _sent(
    case: Case,
    proposed: ReferralProposed,
    world: DecisionContext,
    by: str,
    appointment_at: datetime | None,
) -> Versioned:
    asked = request(
        case,
        Referral.of(proposed),
        world,
        by=by,
        author=Author.ADVISER,
        appointment_at=appointment_at,
    )
    return proposed.referral_id, 0, (proposed, *asked)


def _drop_drafts(tried: Attempts, world: DecisionContext) -> Changes:
    drafts = [r for r in tried.open if r.status is ReferralStatus.DRAFT]
    return supersede(Attempts(drafts), world.today)


def refuse(
    case: Case, tried: Attempts, world: DecisionContext, by: str, comment: str
) -> Changes:
    """Refuse the proposal: its drafts are dropped, the case waits for an adviser.

    Raises ``CaseClosedError``.
    """
    _check_active(case)
    assert case.proposal_id is not None
    refused = ProposalRefused(
        proposal_id=case.proposal_id,
        case_id=case.case_id,
        refused_by=by,
        sealed=CommentSealed(comment=comment),
    )
    decided = Changes((refused,)) + _drop_drafts(tried, world)
    sent = any(r.known_to_partner for r in tried.open)
    return decided if sent else decided + exhausted(case, "refused", world.today)


def propose_again(case: Case, tried: Attempts, world: DecisionContext) -> Changes:
    """A new proposal on what is known today; drafts of the old one are dropped.

    What partners already have goes on. Raises ``CaseClosedError``.
    """
    _check_active(case)
    made = make_proposal(case, world, tried)
    decided = Changes((made,)) + _drop_drafts(tried, world)
    if any(r.known_to_partner for r in tried.open):
        return decided
    left = Attempts([_dropped(r) for r in tried.referrals])
    how = Next(cautious=True, limit=left.attempts + 1)
    return decided + next_referral(case.proposed(made), left, world, how)


def _dropped(referral: Referral) -> Referral:
    if referral.status is ReferralStatus.DRAFT:
        return replace(referral, status=ReferralStatus.ENTERED_IN_ERROR)
    return referral


def close(
    case: Case, tried: Attempts, world: DecisionContext, status: CaseStatus, ending: Move
) -> Changes:
    """Close a case; what is open at partners is cancelled for the adviser's reason.

    ``ending`` bears outcome, reason and comment. Raises ``CaseClosedError``;
    ``InvalidMoveError`` if something is open and no reason was given.
    """
    _check_active(case)
    words = CommentSealed(comment=ending.comment) if ending.comment else None
    closed = CaseClosed(
        case_id=case.case_id, status=status, outcome=ending.outcome, sealed=words
    )
    sent = [r for r in tried.open if r.known_to_partner]
    if sent and ending.reason is None:
        raise InvalidMoveError("reason", "a partner is still asked: why is it stopped?")
    stopped = tuple(_stopped(r, ending, world) for r in sent)
    return Changes((closed,), stopped) + _drop_drafts(tried, world)


def _stopped(referral: Referral, ending: Move, world: DecisionContext) -> Versioned:
    move = Move(ReferralStatus.CANCELLED, Author.ADVISER, ending.reason, ending.comment)
    events: tuple[Event, ...] = move_referral(referral, move, world.today)
    return referral.referral_id, referral.version, events
