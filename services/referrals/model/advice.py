"""Decisions of an adviser on a case: choose otherwise, refuse, propose again, close. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from contracts.referrals import (
    CaseClosed,
    CommentSealed,
    ProposalChanged,
    ProposalRefused,
)
from contracts.values import Author, CaseStatus, ReferralStatus
from services.referrals.model.case import (
    Attempts,
    Case,
    Changes,
    DecisionContext,
    ReroutingOptions,
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
    attempts: Attempts,
    service_ids: Sequence[str],
    context: DecisionContext,
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
    replaced = {s: _replaced(attempts, s, context) for s in service_ids}
    changed = ProposalChanged(
        proposal_id=case.proposal_id,
        case_id=case.case_id,
        service_ids=list(service_ids),
        changed_by=by,
        sealed=CommentSealed(comment=comment),
    )
    count, offers = len(attempts.referrals), []
    for number, (service_id, old) in enumerate(replaced.items(), start=count + 1):
        proposed = draft(case, context.services[service_id], number, context.today, old)
        asked = request(
            case,
            Referral.of(proposed),
            context,
            by=by,
            author=Author.ADVISER,
            appointment_at=appointment_at,
        )
        offers.append((proposed.referral_id, 0, (proposed, *asked)))
    return Changes((changed,), tuple(offers)) + _drop_drafts(attempts, context)


def _replaced(attempts: Attempts, service_id: str, context: DecisionContext) -> UUID | None:
    """The referral that a choice replaces; raises if the service may not be chosen."""
    if service_id not in context.services:
        raise UnknownServiceError(service_id)
    sent = ReferralStatus.DRAFT, ReferralStatus.ENTERED_IN_ERROR
    before = [
        r for r in attempts.referrals if r.service_id == service_id and r.status not in sent
    ]
    if not before:
        return None
    if before[-1].open or not before[-1].late_yes:
        raise AlreadyTriedError(service_id)
    return before[-1].referral_id


def _drop_drafts(attempts: Attempts, context: DecisionContext) -> Changes:
    drafts = [r for r in attempts.open if r.status is ReferralStatus.DRAFT]
    return supersede(Attempts(drafts), context.today)


def refuse(
    case: Case, attempts: Attempts, context: DecisionContext, by: str, comment: str
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
    decided = Changes((refused,)) + _drop_drafts(attempts, context)
    sent = any(r.known_to_partner for r in attempts.open)
    return decided if sent else decided + exhausted(case, "refused", context.today)


def propose_again(case: Case, attempts: Attempts, context: DecisionContext) -> Changes:
    """Propose anew on what is known today; drafts of the old proposal are dropped.

    What partners already have goes on. Raises ``CaseClosedError``.
    """
    _check_active(case)
    made = make_proposal(case, context, attempts)
    decided = Changes((made,)) + _drop_drafts(attempts, context)
    if any(r.known_to_partner for r in attempts.open):
        return decided
    dropped = ReferralStatus.ENTERED_IN_ERROR
    left = Attempts(
        [
            replace(r, status=dropped) if r.status is ReferralStatus.DRAFT else r
            for r in attempts.referrals
        ]
    )
    options = ReroutingOptions(cautious=True, limit=left.count + 1)
    return decided + next_referral(case.proposed(made), left, context, options)


def close(
    case: Case, attempts: Attempts, context: DecisionContext, status: CaseStatus, ending: Move
) -> Changes:
    """Close a case; what is open at partners is cancelled for the adviser's reason.

    ``ending`` bears outcome, reason and comment. Raises ``CaseClosedError``;
    ``InvalidMoveError`` if something is open and no reason was given.
    """
    _check_active(case)
    closed = CaseClosed(
        case_id=case.case_id,
        status=status,
        outcome=ending.outcome,
        sealed=CommentSealed(comment=ending.comment) if ending.comment else None,
    )
    sent = [r for r in attempts.open if r.known_to_partner]
    if sent and ending.reason is None:
        raise InvalidMoveError("reason", "a partner is still asked: why is it stopped?")
    stop = Move(ReferralStatus.CANCELLED, Author.ADVISER, ending.reason, ending.comment)
    stopped = tuple(
        (r.referral_id, r.version, move_referral(r, stop, context.today)) for r in sent
    )
    return Changes((closed,), stopped) + _drop_drafts(attempts, context)
