"""What the routes about rules answer: rules, a ranking, a proposal explained."""

from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import Field

from contracts.base import Answered
from contracts.explanation import Condition
from contracts.values import PartnerKind


class ExplainedRules(Answered):
    """By which rules a proposal was made; ``version`` where they are still kept."""

    name: str
    digest: str
    version: int | None = None


class HumanPart(Answered):
    """What a human did with a proposal; ``why`` and ``services`` where they go with it."""

    did: str = Field(description="`confirmed`, `sent` by the rule, `changed` or `refused`.")
    by: str
    text: str
    why: str | None = None
    services: list[str] | None = None


class Contribution(Answered):
    """The degree and the mode in which the processing contributed."""

    mode: str
    humans: list[HumanPart]


class ExplainedFact(Answered):
    """A fact that was used, and its source."""

    fact: str
    label: str
    value: Any = Field(description="A code, a day, a number, a list of such.")
    source: str | None
    as_of: date | None


class PartWeight(Answered):
    """A part of a score, with its weight as applied."""

    part: str
    label: str
    weight: float


class ServiceParameters(Answered):
    """The parameters of the ranking of one service."""

    service_id: str
    name: str
    score: float
    weights: list[PartWeight]


class AppliedCondition(Answered):
    """A condition as applied to the person, in words, with its ground."""

    code: str
    result: str = Field(description="`matched`, `failed` or `unknown`.")
    text: str
    source: str | None


class ServiceOperations(Answered):
    """What was worked out of one service."""

    service_id: str
    name: str
    verdict: str = Field(description="`eligible`, `not-eligible` or `unknown`.")
    text: str
    conditions: list[AppliedCondition]


class Alternative(Answered):
    """Another service that may suit."""

    service_id: str
    name: str


class FurtherServices(Answered):
    """Services that are not described one by one, and the reason that they share."""

    count: int
    verdict: str
    code: str | None
    text: str


class ProposalExplained(Answered):
    """A proposal explained to the person (CRPA R311-3-1-2), in French.

    From ``summary`` on: absent where the person was erased.
    """

    proposal_id: UUID
    purpose: str
    rights: str
    rules: ExplainedRules
    evaluated_on: date
    contribution: Contribution
    erased: bool
    summary: str | None = None
    data: list[ExplainedFact] | None = None
    parameters: list[ServiceParameters] | None = None
    operations: list[ServiceOperations] | None = None
    alternatives: list[Alternative] | None = None
    more: list[FurtherServices] | None = None
    questions: list[str] | None = None


class RankedService(Answered):
    """A service in its place, with the reasons."""

    place: int
    service_id: str
    partner_id: str
    name: str
    verdict: str = Field(description="`eligible`, `not-eligible` or `unknown`.")
    score: float
    parts: dict[str, float] = Field(description="They sum up to the score.")
    conditions: list[Condition]


class ProposalRanking(Answered):
    """The whole ranking of a proposal, made again; a page of it."""

    proposal_id: UUID
    erased: bool
    exact: bool = Field(description="Whether it is the one of the day, by its digest.")
    considered: int
    services: list[RankedService]


class RuleRow(Answered):
    """A row of a table: which condition it answers, how, in which words, on which ground."""

    name: str
    kind: PartnerKind
    condition: str
    result: str
    text: str
    question: str
    source: str
    cells: dict[str, str]


class RuleTable(Answered):
    """The eligibility of one kind of partner."""

    facts: list[str] = Field(description="The facts that its columns name.")
    rows: list[RuleRow]


class RuleWeights(Answered):
    """The weights of the ranking, as the rules state them."""

    fit_exact: float
    fit_category: float
    unknown: float
    no_capacity: float
    waitlist: float
    delay_per_week: float
    delay_most: float
    same_epci: float
    same_department: float
    further: float
    load_per_open: float
    load_most: float
    preference: dict[str, float]


class PublishedRules(Answered):
    """A version of the rules, whole: the digest identifies its content."""

    published_at: datetime
    name: str
    version: int
    digest: str
    weights: RuleWeights
    tables: dict[str, RuleTable] = Field(description="By kind of partner.")
