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
from contracts.intake import NeedExpressed, case_id_of
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
    ReroutingOptions,
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


def opening(need: NeedExpressed) -> CaseOpened:
    """Return the event that opens a case for a need."""
    return CaseOpened(
        case_id=case_id_of(need.need_id),
        person_id=need.person_id,
        need_id=need.need_id,
        thematique=need.thematique,
        urgent=need.urgent,
        do_not_contact=need.do_not_contact,
        parallel=need.parallel,
    )


def open_case(opened: CaseOpened, context: DecisionContext) -> Changes:
    """Open a case: a proposal, and a first referral if any service may suit, or several."""
    case = Case.of(opened)
    made = make_proposal(case, context, Attempts())
    case = case.proposed(made)
    assert made.sealed is not None
    options = ReroutingOptions(
        verdicts={c.service_id: c.verdict for c in made.sealed.candidates}
    )
    first = next_referral(case, Attempts(), context, options)
    if case.parallel and first.referrals:  # the first partner to accept has the person
        suitable = _suitable(case, context, frozenset(), options)
        best = _best(suitable, context)
        others = [s for s in suitable if s != best and not context.full(s)]
        besides = enumerate(others[: MAX_ATTEMPTS - 1], start=2)
        offers = [_offer(case, s, number, context, options) for number, s in besides]
        first += Changes((), tuple(offers))
    return Changes((opened, made)) + first


def make_proposal(case: Case, context: DecisionContext, attempts: Attempts) -> ProposalMade:
    """Rank as of today, with the reasons sealed: the best, and who was asked before."""
    explanation = propose(
        case.thematique,
        context.person,
        context.services.values(),
        context.rules,
        context.known_on,
        asked=attempts.services,
    )
    ranked = [c.service_id for c in explanation.candidates if c.verdict != NOT_ELIGIBLE]
    return ProposalMade(
        proposal_id=uuid5(case.case_id, f"proposal {case.proposals + 1}"),
        case_id=case.case_id,
        person_id=case.person_id,
        thematique=Thematique(case.thematique),
        rules=context.rules.name,
        rules_digest=context.rules.digest,
        evaluated_on=context.known_on,
        ranked=ranked,
        considered=considered(explanation),
        directory=context.directory,
        policy=context.services[ranked[0]].policy if ranked else "confirm",
        questions=len(explanation.questions),
        sealed=explanation,
    )


def next_referral(
    case: Case, attempts: Attempts, context: DecisionContext, options: ReroutingOptions
) -> Changes:
    """Refer to the best candidate not yet tried, or leave the case exhausted.

    Never the same service twice for a case, at most ``options.limit`` (table of referral
    states).
    """
    options = options if options.verdicts else replace(options, verdicts=context.verdicts(case))
    if options.suggested in context.services and options.suggested not in attempts.services:
        left = [str(options.suggested)]
    else:
        left = _suitable(case, context, attempts.services, options)
    if not left or attempts.count >= options.limit:
        reason = "attempts" if left else "all-tried" if case.ranked else "no-candidate"
        return exhausted(case, reason, context.today)
    number = len(attempts.referrals) + 1
    offer = _offer(case, _best(left, context), number, context, options)
    if options.replaces is None:
        return Changes((), (offer,))
    rerouted = CaseRerouted(
        case_id=case.case_id,
        referral_id=offer[0],
        replaces=options.replaces,
        reason=options.reason,
    )
    return Changes((rerouted,), (offer,))


def _suitable(
    case: Case, context: DecisionContext, attempts: frozenset[str], options: ReroutingOptions
) -> list[str]:
    """Ranked services that were not tried, and still suit on this day."""
    known = [s for s in case.ranked if s in context.services and s not in attempts]
    return [s for s in known if options.verdicts.get(s, NOT_ELIGIBLE) != NOT_ELIGIBLE]


def _best(services: Sequence[str], context: DecisionContext) -> str:
    """The first that is not full; if all are, the first."""
    return next((s for s in services if not context.full(s)), services[0])


def exhausted(case: Case, reason: str, today: date) -> Changes:
    """Leave a case to an adviser, who looks by a day: nothing goes on by itself."""
    due = working_day(today, 0 if case.urgent else LOOK_AGAIN_DAYS)
    return Changes((CaseExhausted(case_id=case.case_id, reason=reason, due_on=due),))


def _offer(
    case: Case,
    service_id: str,
    number: int,
    context: DecisionContext,
    options: ReroutingOptions,
) -> Versioned:
    proposed = draft(
        case, context.services[service_id], number, context.today, options.replaces
    )
    events: list[Event] = [proposed]
    # it needs no second look where the site says so, nothing is unknown and it is not full
    known = options.verdicts.get(service_id) == ELIGIBLE
    looked_at = options.cautious or options.suggested or context.full(service_id)
    if known and context.services[service_id].policy == "auto" and not looked_at:
        # without an agreement it stays a draft: an adviser asks for it, nobody is refused
        with suppress(AgreementMissingError, PersonRestrictedError):
            events += request(
                case, Referral.of(proposed), context, by="policy:auto", author=Author.HUB
            )
    return proposed.referral_id, 0, tuple(events)


def draft(
    case: Case, service: Service, number: int, today: date, replaces: UUID | None = None
) -> ReferralProposed:
    """Draft a referral; ``number`` counts the case's referrals from 1."""
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
    context: DecisionContext,
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
        request(case, referral, context, by=by, author=author, appointment_at=appointment_at)
    )


def request(
    case: Case,
    referral: Referral,
    context: DecisionContext,
    *,
    by: str,
    author: Author,
    appointment_at: datetime | None = None,
) -> list[Event]:
    """Return the events that send a draft.

    Raises ``AgreementMissingError``, ``PersonRestrictedError``.
    """
    kind = referral.partner_kind
    agreement = context.person.agreement_for(referral.partner_id, kind, context.today)
    fields = disclosed(context.person, context.need.note, kind, agreement)
    met_on = local_day(appointment_at) if appointment_at else None
    deadlines = context.deadlines(referral.service_id)
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
        requested_on=context.today,
        appointment_at=appointment_at,
        replaces=referral.replaces,
        awaits=until_answered(deadlines, context.today, met_on),
        sealed=Disclosure(fields=fields, requester=context.need.requester),
    )
    return [confirmed, requested]


def after_move(
    case: Case, moved: Referral, others: Attempts, move: Move, context: DecisionContext
) -> Changes:
    """Let a case follow one of its referrals that has moved: close it, or go on to the next.

    ``others``: the case's other referrals. The first partner to accept has the person: the
    others are told that somebody was faster.
    """
    if case.status is not CaseStatus.ACTIVE:
        return Changes()
    if moved.status is _S.COMPLETED:
        closed = CaseClosed(
            case_id=case.case_id, status=CaseStatus.COMPLETED, outcome=move.outcome
        )
        return Changes((closed,)) + supersede(others, context.today)
    if moved.status in _TAKEN:
        return supersede(others, context.today)
    if moved.status not in _ENDED or move.reason is Reason.SUPERSEDED or others.open:
        return Changes()
    if move.reason is Reason.AGREEMENT_WITHDRAWN:
        return exhausted(case, "withdrawn", context.today)
    if (move.on_behalf_of or move.author) is Author.ADVISER:
        return exhausted(case, "stopped", context.today)
    options = ReroutingOptions(
        replaces=moved.referral_id,
        reason=move.reason,
        suggested=move.suggested_service_id,
        cautious=move.reason in ABOUT_THE_PERSON,
    )
    return next_referral(case, Attempts([*others.referrals, moved]), context, options)


def supersede(others: Attempts, today: date) -> Changes:
    """End what is open: partners are told, drafts are dropped."""
    ended: list[Versioned] = []
    for referral in others.open:
        dropped = referral.status is _S.DRAFT
        status = _S.ENTERED_IN_ERROR if dropped else _S.CANCELLED
        move = Move(status, Author.HUB, Reason.SUPERSEDED)
        events = move_referral(referral, move, today)
        ended.append((referral.referral_id, referral.version, events))
    return Changes((), tuple(ended))
