"""Cases, proposals and referrals, read and decided by advisers."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from pydantic import (
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)
from sqlalchemy import Select

from contracts.base import Strict
from contracts.statements import FreeText
from contracts.types import AheadMoment, Line
from contracts.values import REFERRAL_LABELS, Author, CaseStatus, Reason, ReferralStatus
from contracts.webhooks import OutcomeCode, SpokenAnswer
from infra.base.missing import NotFoundError
from infra.postgres.database import Database
from infra.postgres.transaction import Transaction
from infra.web.auth import Principal, RequireRole
from infra.web.problems import raises
from infra.web.request_meta import metadata_of
from services.referrals.handlers import proposals
from services.referrals.handlers.advisers import AdviserCommands
from services.referrals.handlers.answers import show_answers
from services.referrals.model.appointments import AppointmentOutcome
from services.referrals.model.referral import (
    Move,
    Referral,
)
from services.referrals.routes.models import (
    Case,
    CasePage,
    CaseReferral,
    PartnerAnswer,
    PartnerAnswers,
    Proposal,
    ReferralState,
)
from services.referrals.routes.problems import DECIDING, deciding, refuse_nir
from services.referrals.tables import queries

Adviser = Annotated[Principal, Depends(RequireRole("adviser"))]
PROPOSED = "An appointment that you propose: in the future, with its time zone."
ServiceId = Annotated[Line, StringConstraints(min_length=1, max_length=150)]


class Cancellation(Strict):
    """Why an adviser stops a referral."""

    reason: Reason
    comment: FreeText | None = None


class Confirmation(Strict):
    """What goes with a draft that is sent."""

    appointment_at: AheadMoment | None = Field(None, description=PROPOSED)


class Appointment(Strict):
    """When the person is expected."""

    appointment_at: AheadMoment = Field(description="In the future, with its time zone.")


class AppointmentResult(Strict):
    """What came of an appointment; said again, it corrects what was said before."""

    outcome: AppointmentOutcome


class Choice(Strict):
    """Other services than proposed; with several, the first to accept has the person."""

    service_ids: Annotated[list[ServiceId], Field(min_length=1, max_length=3)]
    comment: FreeText = Field(description="Why: sealed, part of the explanation.")
    appointment_at: AheadMoment | None = Field(None, description=PROPOSED)

    @field_validator("appointment_at")
    @classmethod
    def _of_one(cls, given: datetime | None, about: ValidationInfo) -> datetime | None:
        if given and len(about.data.get("service_ids", ())) > 1:
            raise ValueError("goes with one service")
        return given

    @field_validator("service_ids")
    @classmethod
    def _once(cls, given: list[str]) -> list[str]:
        if len(set(given)) < len(given):
            raise ValueError("the same service twice")
        return given


class Refusal(Strict):
    """Why a proposal is refused."""

    comment: FreeText


class Closing(Strict):
    """How a case ends; ``reason`` is for partners who are still asked."""

    status: Literal[CaseStatus.COMPLETED, CaseStatus.REVOKED]
    outcome: OutcomeCode
    reason: Reason | None = None
    comment: FreeText | None = None


class Correction(Strict):
    """Why a referral was entered in error."""

    comment: FreeText | None = Field(None, description="Sealed; for whoever reads the pathway.")


def add_reading(routes: APIRouter, database: Database, advisers: AdviserCommands) -> None:
    """Add the routes that advisers read."""

    @routes.get("/cases")
    async def list_cases(
        adviser: Adviser,
        person_id: UUID | None = None,
        status: CaseStatus | None = None,
        after: UUID | None = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
    ) -> CasePage:
        """Cases with their referrals; of one person, or all, a page at a time."""
        async with database.reading() as connection:
            query = queries.cases(limit, person_id=person_id, status=status, after=after)
            cases = await _cases(connection, query)
        return CasePage(cases=cases, next=cases[-1].case_id if len(cases) == limit else None)

    @routes.get("/cases/{case_id}")
    async def get_case(adviser: Adviser, case_id: UUID) -> Case:
        """One case with its referrals."""
        async with database.reading() as connection:
            return await _case(connection, case_id)

    @routes.get("/proposals/{proposal_id}")
    @raises(*DECIDING)
    async def get_proposal(request: Request, adviser: Adviser, proposal_id: UUID) -> Proposal:
        """A proposal with its explanation: facts used, conditions, ranking, questions.

        It shows facts: who looked is an event of the person's pathway.
        """
        meta = metadata_of(request, adviser.actor)
        async with deciding(database) as tx:
            proposal = await proposals.show(tx, advisers.reactions, proposal_id, meta)
        shown, explained = proposal.made.model_dump(exclude={"sealed"}), proposal.made.sealed
        return Proposal(**shown, explanation=explained, erased=explained is None)

    @routes.get("/referrals/{referral_id}/answers")
    @raises(*DECIDING)
    async def list_answers(
        request: Request, adviser: Adviser, referral_id: UUID
    ) -> PartnerAnswers:
        """What the partner answered, oldest first, with its own number of the file.

        It shows words about a person: who looked is an event of the person's pathway.
        """
        writer, meta = advisers.reactions.writer, metadata_of(request, adviser.actor)
        async with deciding(database) as tx:
            answers = await show_answers(tx, writer, referral_id, meta)
        return PartnerAnswers(answers=[PartnerAnswer(**answer) for answer in answers])


def add_referrals(routes: APIRouter, database: Database, advisers: AdviserCommands) -> None:
    """Add the routes that move one referral."""

    async def moved(
        request: Request, adviser: Principal, referral_id: UUID, move: Move
    ) -> ReferralState:
        async with deciding(database) as tx:
            return _shown(
                await advisers.move(tx, referral_id, move, metadata_of(request, adviser.actor))
            )

    @routes.post("/referrals/{referral_id}/confirm")
    @raises(*DECIDING)
    async def confirm(
        request: Request,
        adviser: Adviser,
        referral_id: UUID,
        body: Confirmation | None = None,
    ) -> ReferralState:
        """Send a draft to its partner, perhaps with an appointment."""
        meta, at = metadata_of(request, adviser.actor), body.appointment_at if body else None
        async with deciding(database) as tx:
            return _shown(await advisers.confirm(tx, referral_id, meta, at))

    @routes.post("/referrals/{referral_id}/cancel")
    @raises(*DECIDING)
    async def cancel(
        request: Request, adviser: Adviser, referral_id: UUID, body: Cancellation
    ) -> ReferralState:
        """Stop a referral that the partner has not finished."""
        move = Move(ReferralStatus.CANCELLED, Author.ADVISER, body.reason, body.comment)
        return await moved(request, adviser, referral_id, move)

    @routes.post("/referrals/{referral_id}/correct")
    @raises(*DECIDING)
    async def correct(
        request: Request, adviser: Adviser, referral_id: UUID, body: Correction
    ) -> ReferralState:
        """Mark a referral as entered in error, from any state."""
        move = Move(ReferralStatus.ENTERED_IN_ERROR, Author.ADVISER, comment=body.comment)
        return await moved(request, adviser, referral_id, move)

    @routes.post("/referrals/{referral_id}/answer")
    @raises(*DECIDING)
    async def answer(
        request: Request, adviser: Adviser, referral_id: UUID, body: SpokenAnswer
    ) -> ReferralState:
        """Type in what the partner said by phone or on paper: both are recorded."""
        refuse_nir(body)
        move = Move(
            author=Author.ADVISER,
            on_behalf_of=Author.PARTNER,
            **{name: getattr(body, name) for name in SpokenAnswer.model_fields},
        )
        return await moved(request, adviser, referral_id, move)


def add_appointments(routes: APIRouter, database: Database, advisers: AdviserCommands) -> None:
    """Add the routes of a referral's appointment."""

    @routes.post("/referrals/{referral_id}/appointment")
    @raises(*DECIDING)
    async def appoint(
        request: Request, adviser: Adviser, referral_id: UUID, body: Appointment
    ) -> ReferralState:
        """Give the person an appointment, or move it."""
        meta, at = metadata_of(request, adviser.actor), body.appointment_at
        async with deciding(database) as tx:
            return _shown(await advisers.appoint(tx, referral_id, at, meta))

    @routes.post("/referrals/{referral_id}/appointment/outcome")
    @raises(*DECIDING)
    async def met(
        request: Request, adviser: Adviser, referral_id: UUID, body: AppointmentResult
    ) -> ReferralState:
        """Say what came of it: the person came, did not come, or it was called off."""
        meta = metadata_of(request, adviser.actor)
        async with deciding(database) as tx:
            return _shown(await advisers.met(tx, referral_id, body.outcome, meta))


def add_decisions(routes: APIRouter, database: Database, advisers: AdviserCommands) -> None:
    """Add the routes that decide on a proposal and a case."""

    @routes.post("/proposals/{proposal_id}/choose")
    @raises(*DECIDING)
    async def choose(
        request: Request, adviser: Adviser, proposal_id: UUID, body: Choice
    ) -> Case:
        """Send the case to other services than proposed, and say why."""
        meta, chosen = metadata_of(request, adviser.actor), body.service_ids
        async with deciding(database) as tx:
            case = await advisers.choose(
                tx,
                proposal_id,
                chosen,
                note=body.comment,
                meta=meta,
                appointment_at=body.appointment_at,
            )
            return await _case(tx, case.case_id)

    @routes.post("/proposals/{proposal_id}/refuse")
    @raises(*DECIDING)
    async def refuse(
        request: Request, adviser: Adviser, proposal_id: UUID, body: Refusal
    ) -> Case:
        """Refuse a proposal: nothing is sent, the case stays on the worklist."""
        meta = metadata_of(request, adviser.actor)
        async with deciding(database) as tx:
            case = await advisers.refuse(tx, proposal_id, body.comment, meta)
            return await _case(tx, case.case_id)

    @routes.post("/cases/{case_id}/propose")
    @raises(*DECIDING)
    async def propose(request: Request, adviser: Adviser, case_id: UUID) -> Case:
        """Propose again, with what is known today."""
        async with deciding(database) as tx:
            await advisers.propose_again(tx, case_id, metadata_of(request, adviser.actor))
            return await _case(tx, case_id)

    @routes.post("/cases/{case_id}/close")
    @raises(*DECIDING)
    async def close(request: Request, adviser: Adviser, case_id: UUID, body: Closing) -> Case:
        """Close a case; partners who are still asked are told."""
        ending = Move(
            ReferralStatus.CANCELLED, Author.ADVISER, body.reason, body.comment, body.outcome
        )
        meta = metadata_of(request, adviser.actor)
        async with deciding(database) as tx:
            await advisers.close(tx, case_id, body.status, ending, meta)
            return await _case(tx, case_id)


async def _case(connection: Transaction, case_id: UUID) -> Case:
    cases = await _cases(connection, queries.case(case_id))
    if not cases:
        raise NotFoundError("case")
    return cases[0]


async def _cases(connection: Transaction, query: Select[Any]) -> list[Case]:
    rows = await connection.select(query)
    referrals: dict[UUID, list[CaseReferral]] = {row.case_id: [] for row in rows}
    for row in await connection.select(queries.referrals_of_cases(list(referrals))):
        label = REFERRAL_LABELS[ReferralStatus(row.status)]
        referrals[row.case_id].append(CaseReferral(**row._mapping, label=label))
    return [Case(**row._mapping, referrals=referrals[row.case_id]) for row in rows]


def _shown(referral: Referral) -> ReferralState:
    return ReferralState(
        referral_id=referral.referral_id,
        case_id=referral.case_id,
        partner_id=referral.partner_id,
        service_id=referral.service_id,
        status=referral.status,
        label=REFERRAL_LABELS[referral.status],
        appointment_at=referral.appointment_at,
    )
