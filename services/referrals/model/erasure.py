"""End of a case whose person is erased: nothing goes on. Pure."""

from datetime import date

from contracts.referrals import CaseClosed
from contracts.values import Author, CaseStatus, Reason, ReferralStatus
from services.referrals.model.case import Attempts, Case, Changes, Versioned
from services.referrals.model.referral import Move, move_referral

ERASED = "erased"
"""Outcome of a case that ended because its person was erased."""


def abandon(case: Case, attempts: Attempts, today: date) -> Changes:
    """Close a case; partners are told to stop, drafts are dropped. Nothing if it has ended."""
    if case.status is not CaseStatus.ACTIVE:
        return Changes()
    closed = CaseClosed(case_id=case.case_id, status=CaseStatus.REVOKED, outcome=ERASED)
    stopped: list[Versioned] = []
    for referral in attempts.open:
        move = Move(ReferralStatus.ENTERED_IN_ERROR, Author.HUB)
        if referral.known_to_partner:
            move = Move(ReferralStatus.CANCELLED, Author.HUB, Reason.AGREEMENT_WITHDRAWN)
        events = move_referral(referral, move, today)
        stopped.append((referral.referral_id, referral.version, events))
    return Changes((closed,), tuple(stopped))
