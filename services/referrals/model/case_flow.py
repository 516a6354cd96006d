"""The closed loop: from a proposal to the next candidate, until a partner takes over. Pure.

Refusals, silences and full services move a case on by themselves; where nothing is left to do
without a human, the case is exhausted, with the day by which an adviser looks at it.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime
from uuid import UUID, uuid5

from contracts.base import Event
from contracts.days import local_day
from contracts.referrals import (
    CaseClosed,
    CaseExhausted,
    CaseOpened,
    CaseRerouted,
    Disclosure,
    ProposalMade,
    ReferralConfirmed,
    ReferralProposed,
    ReferralRequested,
)
from contracts.values import Author, CaseStatus, Reason, ReferralStatus, Thematique
from services.referrals.model.case import (
    Attempts,
    Case,
    Changes,
    DecisionContext,
    Next,
    Versioned,
)
from services.referrals.model.deadlines import (
    LOOK_AGAIN_DAYS,
    to_confirm,
    until_answered,
    working_day,
)
from services.referrals.model.disclosure import disclosed
from services.referrals.model.person import AgreementMissingError, PersonRestrictedError
from services.referrals.model.proposals import considered, propose
from services.referrals.model.referral import (
    ForbiddenTransitionError,
    Move,
    Referral,
    move_referral,
)
from services.referrals.model.routing import (
    ELIGIBLE,
    MAX_ATTEMPTS,
    NOT_ELIGIBLE,
    Service,
)

_S = ReferralStatus
_ENDED = (_S.REJECTED, _S.FAILED, _S.CANCELLED, _S.ENTERED_IN_ERROR)
_TAKEN = (_S.ACCEPTED, _S.IN_PROGRESS)
ABOUT_THE_PERSON = frozenset(
    {
        Reason.CLIENT_DECLINED,
        Reason.CLIENT_IN_EMPLOYMENT,
        Reason.CLIENT_IN_TRAINING,
        Reason.CLIENT_NO_SHOW,
        Reason.COULD_NOT_CONTACT,
        Reason.DUPLICATE,
        Reason.ALREADY_SERVED_ELSEWHERE,
    }
)
"""Reasons that say something of the person: an adviser talks to them before anybody else is
asked, whatever the policy."""


def open_case(opened: CaseOpened, world: DecisionContext) -> Changes:
    """A case, its proposal, and a first referral if any service may suit, or several."""
    case = Case.of(opened)
    made = make_proposal(case, world, Attempts())
    case = case.proposed(made)
    assert made.sealed is not None
    how = Next(verdicts={c.service_id: c.verdict for c in made.sealed.candidates})
    first = next_referral(case, Attempts(), world, how)
    if case.parallel and first.referrals:
        first += _others_at_once(case, world, how)
    return Changes((opened, made)) + first


def make_proposal(case: Case, world: DecisionContext, tried: Attempts) -> ProposalMade:
    """The ranking of today, with its reasons sealed: the best, and who was asked before."""
    explanation = propose(
        case.thematique, world.person, world.services.values(), world.rules, world.known_on,
        tried.services,
    )  # fmt: skip
    ranked = [c.service_id for c in explanation.candidates if c.verdict != NOT_ELIGIBLE]
    return ProposalMade(
        proposal_id=uuid5(case.case_id, f"proposal {case.proposals + 1}"),
        case_id=case.case_id,
        person_id=case.person_id,
        thematique=Thematique(case.thematique),
        rules=world.rules.name,
        rules_digest=world.rules.digest,
        evaluated_on=world.known_on,
        ranked=ranked,
        considered=considered(explanation),
        directory=world.directory,
        policy=world.services[ranked[0]].policy if ranked else "confirm",
        questions=len(explanation.questions),
        sealed=explanation,
    )


def _others_at_once(case: Case, world: DecisionContext, how: Next) -> Changes:
    suitable = _suitable(case, world, frozenset(), how)
    first = _best(suitable, world)
    others = [s for s in suitable if s != first and not world.full(s)][: MAX_ATTEMPTS - 1]
    made = [_offer(case, s, n, world, how) for n, s in enumerate(others, start=2)]
    return Changes((), tuple(made))


def next_referral(case: Case, tried: Attempts, world: DecisionContext, how: Next) -> Changes:
    """A referral to the best candidate not yet tried, or an exhausted case.

    Never the same service twice for a case, at most ``how.limit`` (table of referral states).
    """
    how = how if how.verdicts else replace(how, verdicts=world.verdicts(case))
    if how.suggested in world.services and how.suggested not in tried.services:
        left = [str(how.suggested)]
    else:
        left = _suitable(case, world, tried.services, how)
    if not left or tried.attempts >= how.limit:
        return exhausted(case, _why_exhausted(case, left), world.today)
    number = len(tried.referrals) + 1
    offer = _offer(case, _best(left, world), number, world, how)
    if how.replaces is None:
        return Changes((), (offer,))
    rerouted = CaseRerouted(
        case_id=case.case_id, referral_id=offer[0], replaces=how.replaces, reason=how.reason
    )
    return Changes((rerouted,), (offer,))


def _suitable(
    case: Case, world: DecisionContext, tried: frozenset[str], how: Next
) -> list[str]:
    """Ranked services that were not tried, and still suit on this day."""
    known = [s for s in case.ranked if s in world.services and s not in tried]
    return [s for s in known if how.verdicts.get(s, NOT_ELIGIBLE) != NOT_ELIGIBLE]


def _best(services: Sequence[str], world: DecisionContext) -> str:
    """The first that is not full; if all are, the first."""
    return next((s for s in services if not world.full(s)), services[0])


def _why_exhausted(case: Case, left: Sequence[str]) -> str:
    if left:
        return "attempts"
    return "all-tried" if case.ranked else "no-candidate"


def exhausted(case: Case, reason: str, today: date) -> Changes:
    """Nothing goes on by itself: an adviser looks, by a day."""
    due = working_day(today, 0 if case.urgent else LOOK_AGAIN_DAYS)
    return Changes((CaseExhausted(case_id=case.case_id, reason=reason, due_on=due),))


def _offer(
    case: Case, service_id: str, number: int, world: DecisionContext, how: Next
) -> Versioned:
    proposed = draft(case, world.services[service_id], number, world.today, how.replaces)
    events: list[Event] = [proposed]
    if _automatic(service_id, world, how):
        # without an agreement it stays a draft: an adviser asks for it, nobody is refused
        with suppress(AgreementMissingError, PersonRestrictedError):
            events += request(
                case, Referral.of(proposed), world, by="policy:auto", author=Author.HUB
            )
    return proposed.referral_id, 0, tuple(events)


def _automatic(service_id: str, world: DecisionContext, how: Next) -> bool:
    """A contact that needs no second look: the site says so, nothing is unknown, not full."""
    if how.cautious or how.suggested or world.full(service_id):
        return False
    known = how.verdicts.get(service_id) == ELIGIBLE
    return known and world.services[service_id].policy == "auto"


def draft(
    case: Case, service: Service, number: int, today: date, replaces: UUID | None = None
) -> ReferralProposed:
    """A draft referral; ``number`` counts the case's referrals from 1."""
    assert case.proposal_id is not None
    return ReferralProposed(
        referral_id=uuid5(case.case_id, f"referral {number}"),
        case_id=case.case_id,
        person_id=case.person_id,
        proposal_id=case.proposal_id,
        partner_id=service.partner_id,
        partner_kind=service.kind,
        service_id=service.service_id,
        replaces=replaces,
        attempt=number,
        awaits=to_confirm(case.urgent, today),
    )


def confirm(
    case: Case,
    referral: Referral,
    world: DecisionContext,
    by: str,
    author: Author,
    appointment_at: datetime | None = None,
) -> tuple[Event, ...]:
    """Confirm a draft and send it to the partner, perhaps with an appointment.

    Raises ``ForbiddenTransitionError`` if it is no draft or the case has ended,
    ``AgreementMissingError`` if the person's agreement does not cover the partner today.
    """
    if referral.status is not _S.DRAFT or case.status is not CaseStatus.ACTIVE:
        raise ForbiddenTransitionError(referral.status, _S.REQUESTED, author)
    return tuple(
        request(case, referral, world, by=by, author=author, appointment_at=appointment_at)
    )


def request(
    case: Case,
    referral: Referral,
    world: DecisionContext,
    *,
    by: str,
    author: Author,
    appointment_at: datetime | None = None,
) -> list[Event]:
    """The events that send a draft.

    Raises ``AgreementMissingError``, ``PersonRestrictedError``.
    """
    kind = referral.partner_kind
    agreement = world.person.agreement_for(referral.partner_id, kind, world.today)
    fields = disclosed(world.person, world.need.note, kind, agreement)
    met_on = local_day(appointment_at) if appointment_at else None
    deadlines = world.deadlines(referral.service_id)
    confirmed = ReferralConfirmed(
        referral_id=referral.referral_id, case_id=case.case_id, confirmed_by=by, author=author
    )
    requested = ReferralRequested(
        referral_id=referral.referral_id,
        case_id=case.case_id,
        person_id=case.person_id,
        partner_id=referral.partner_id,
        partner_kind=kind,
        service_id=referral.service_id,
        thematique=case.thematique,
        urgent=case.urgent,
        do_not_contact=case.do_not_contact,
        agreement_id=agreement.agreement_id,
        agreed_until=agreement.until,
        requested_on=world.today,
        appointment_at=appointment_at,
        replaces=referral.replaces,
        awaits=until_answered(deadlines, world.today, met_on),
        sealed=Disclosure(fields=fields, requester=world.need.requester),
    )
    return [confirmed, requested]


def after_move(
    case: Case, moved: Referral, others: Attempts, move: Move, world: DecisionContext
) -> Changes:
    """What the case does when one of its referrals has moved: close, or go on to the next.

    ``others``: the case's other referrals. The first partner to accept has the person: the
    others are told that somebody was faster.
    """
    if case.status is not CaseStatus.ACTIVE:
        return Changes()
    if moved.status is _S.COMPLETED:
        closed = CaseClosed(
            case_id=case.case_id, status=CaseStatus.COMPLETED, outcome=move.outcome
        )
        return Changes((closed,)) + supersede(others, world.today)
    if moved.status in _TAKEN:
        return supersede(others, world.today)
    if moved.status not in _ENDED or move.reason is Reason.SUPERSEDED or others.open:
        return Changes()
    return _go_on(case, moved, others, move, world)


def supersede(others: Attempts, today: date) -> Changes:
    """End what is open: partners are told, drafts are dropped."""
    return Changes((), tuple(_superseded(referral, today) for referral in others.open))


def _superseded(referral: Referral, today: date) -> Versioned:
    dropped = referral.status is _S.DRAFT
    status = _S.ENTERED_IN_ERROR if dropped else _S.CANCELLED
    move = Move(status, Author.HUB, Reason.SUPERSEDED)
    return referral.referral_id, referral.version, move_referral(referral, move, today)


def _go_on(
    case: Case, moved: Referral, others: Attempts, move: Move, world: DecisionContext
) -> Changes:
    if move.reason is Reason.AGREEMENT_WITHDRAWN:
        return exhausted(case, "withdrawn", world.today)
    if (move.on_behalf_of or move.author) is Author.ADVISER:
        return exhausted(case, "stopped", world.today)
    how = Next(
        replaces=moved.referral_id,
        reason=move.reason,
        suggested=move.suggested_service_id,
        cautious=move.reason in ABOUT_THE_PERSON,
    )
    return next_referral(case, Attempts([*others.referrals, moved]), world, how)
