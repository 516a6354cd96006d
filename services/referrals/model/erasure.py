"""What becomes of a case whose person is erased: nothing goes on. Pure."""

from datetime import date

from contracts.referrals import CaseClosed
from contracts.values import Author, CaseStatus, Reason, ReferralStatus
from services.referrals.model.case import Attempts, Case, Changes, Versioned
from services.referrals.model.referral import Move, Referral, move_referral

ERASED = "erased"
"""Outcome of a case that ended because its person was erased."""


def abandon(case: Case, tried: Attempts, today: date) -> Changes:
    """Close a case; partners are told to stop, drafts are dropped. Nothing if it has ended."""
    if case.status is not CaseStatus.ACTIVE:
        return Changes()
    closed = CaseClosed(case_id=case.case_id, status=CaseStatus.REVOKED, outcome=ERASED)
    return Changes((closed,), tuple(_stopped(referral, today) for referral in tried.open))


def _stopped(referral: Referral, today: date) -> Versioned:
    status, reason = ReferralStatus.ENTERED_IN_ERROR, None
    if referral.known_to_partner:
        status, reason = ReferralStatus.CANCELLED, Reason.AGREEMENT_WITHDRAWN
    events = move_referral(referral, Move(status, Author.HUB, reason), today)
    return referral.referral_id, referral.version, events
