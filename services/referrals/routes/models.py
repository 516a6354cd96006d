"""What the routes for advisers answer: cases, referrals, proposals, the worklist."""

from datetime import date, datetime
from uuid import UUID

from pydantic import Field

from contracts.base import Answered
from contracts.explanation import Explanation
from contracts.referrals import DirectoryRead
from contracts.values import (
    BusinessStatus,
    CaseStatus,
    DeadlineStep,
    PartnerKind,
    Party,
    Reason,
    ReferralStatus,
    Thematique,
)


class CaseReferral(Answered):
    """A referral of a case: to whom, how far it is, whose turn it is and until when."""

    referral_id: UUID
    case_id: UUID
    proposal_id: UUID
    partner_id: str
    partner_kind: PartnerKind
    service_id: str
    attempt: int = Field(description="Which of the case's referrals: the first is 1.")
    replaces: UUID | None = Field(description="The referral that came to nothing before it.")
    status: ReferralStatus
    business_status: BusinessStatus | None
    reason: Reason | None
    outcome: str | None = Field(description="What came of it, as a code.")
    agreement_id: UUID | None
    appointment_at: datetime | None
    commission_on: date | None = Field(description="Day on which the partner decides.")
    suggested_service_id: str | None
    awaits: Party | None = Field(description="Whose turn it is.")
    next_on: date | None = Field(description="Day of the next step if no answer comes.")
    expire_on: date | None = Field(description="Day on which the hub stops waiting.")
    passed: DeadlineStep | None = Field(description="The last of these steps that was taken.")
    updated_at: datetime
    label: str = Field(description="The status in French.")


class Case(Answered):
    """One need of one person that is worked on, with its referrals in their order."""

    case_id: UUID
    person_id: UUID
    need_id: UUID
    thematique: Thematique
    urgent: bool
    do_not_contact: bool
    parallel: bool = Field(description="Whether several partners may be asked at once.")
    status: CaseStatus
    outcome: str | None = Field(description="How it ended, as a code.")
    proposal_id: UUID | None = Field(description="The proposal that counts.")
    questions: int = Field(description="How many facts its proposal would ask for.")
    exhausted: str | None = Field(description="Why nothing goes on by itself any more.")
    exhausted_due: date | None = Field(description="Day by which an adviser looks.")
    opened_at: datetime
    referrals: list[CaseReferral]


class CasePage(Answered):
    """Cases, a page at a time; ``next`` goes into ``after``."""

    cases: list[Case]
    next: UUID | None


class ReferralState(Answered):
    """A referral as it is after what was just done."""

    referral_id: UUID
    case_id: UUID
    partner_id: str
    service_id: str
    status: ReferralStatus
    label: str = Field(description="The status in French.")
    appointment_at: datetime | None


class PartnerAnswer(Answered):
    """What a partner answered; the words are null where the person was erased."""

    said_at: datetime
    typed_in_by: str | None = Field(description="The adviser who typed it in, if one did.")
    status: ReferralStatus
    label: str = Field(description="The status in French.")
    business_status: BusinessStatus | None
    reason: Reason | None
    outcome: str | None
    commission_on: date | None
    suggested_service_id: str | None
    comment: str | None
    partner_reference: str | None = Field(description="The partner's number of the file.")


class PartnerAnswers(Answered):
    """Every answer to a referral, the oldest first."""

    answers: list[PartnerAnswer]


class Proposal(Answered):
    """Services ranked for a case, with the explanation; null where the person was erased."""

    proposal_id: UUID
    case_id: UUID
    person_id: UUID
    thematique: Thematique
    rules: str = Field(description="The name of the rules.")
    rules_digest: str
    evaluated_on: date = Field(description="The day for which the facts count.")
    ranked: list[str] = Field(description="The best of those that may suit.")
    considered: int = Field(description="How many services were ranked.")
    directory: DirectoryRead
    policy: str = Field(description="`confirm`: an adviser confirms; `auto`: it is sent.")
    questions: int
    explanation: Explanation | None
    erased: bool


class WorklistItem(Answered):
    """Something that needs a human: why, about whom, until when, and the next step."""

    reason: str = Field(description="A code: `to-confirm`, `escalated`, `duplicate` …")
    case_id: UUID | None
    person_id: UUID | None
    referral_id: UUID | None
    due_on: date | None
    urgent: bool
    thematique: Thematique | None
    partner_id: str | None
    partner_kind: PartnerKind | None
    service_id: str | None
    status: ReferralStatus | None
    suggested_service_id: str | None
    detail: str | None = Field(description="A code, or of a duplicate the other person's id.")
    label: str = Field(description="The reason in French.")
    next_step: str = Field(description="What to do, in French.")


class Worklist(Answered):
    """What needs a human, urgent first, then by the day by which it is due."""

    today: date
    items: list[WorklistItem]


class PartnerSilence(Answered):
    """How a partner answers: what stays out, what lapsed, how fast it was."""

    partner_id: str
    unanswered: int
    oldest: date | None = Field(description="Day of the oldest request without an answer.")
    escalated: int
    lapsed: int = Field(description="Given up because no answer came.")
    answered: int
    last_answer_at: datetime | None
    median_days: float | None = Field(description="Days until the first sign, half the time.")


class Silences(Answered):
    """Partners and their silences since a day, a page at a time; ``next`` goes to ``after``."""

    since: date
    partners: list[PartnerSilence]
    next: str | None


class PartnerBounce(Answered):
    """Two partners between whom persons were sent, and back again."""

    partner_id: str
    other_partner_id: str
    persons: int
    last_on: date
    referrals: list[UUID] = Field(description="The newest, at most 20.")


class Bounces(Answered):
    """The pairs of partners between whom most persons go round."""

    since: date
    bounces: list[PartnerBounce]
