"""Why a proposal is as it is: facts, conditions, score, questions (CRPA R311-3-1-2)."""

from datetime import date
from typing import Any

from contracts.base import Contract, Sealed
from contracts.values import CapacityStatus, PartnerKind


class FactUsed(Contract):
    """A fact that routing looked at, with where it came from."""

    name: str
    value: Any = None
    source: str | None = None
    as_of: date | None = None


class Condition(Contract):
    """One condition, as applied to this person.

    ``result``: ``matched``, ``failed`` or ``unknown``. ``row``: the row of the rule table that
    says so, with its words and its source; none for conditions on the service itself (zone,
    age, publics).
    """

    code: str
    result: str
    row: str | None = None


class ServiceKnown(Contract):
    """What was known of a service when it was considered."""

    zone: list[str] = []
    minimum_age: int | None = None
    maximum_age: int | None = None
    publics: list[str] = []
    code_insee: str | None = None
    capacity: CapacityStatus | None = None
    delay_days: int | None = None
    load: int = 0


class Candidate(Contract):
    """One service that was considered, and why it is proposed or not.

    ``verdict``: ``eligible``, ``not-eligible`` or ``unknown``. ``parts`` sum up to ``score``.
    """

    service_id: str
    partner_id: str
    partner_kind: PartnerKind
    name: str
    thematiques: list[str] = []
    verdict: str
    score: float
    parts: dict[str, float] = {}
    conditions: list[Condition]
    known: ServiceKnown = ServiceKnown()


class Question(Contract):
    """A fact to ask for: unknown today, and an answer may change the ranking."""

    fact: str
    text: str
    services: list[str]


class Explanation(Sealed):
    """Everything needed to explain a proposal to the person (CRPA R311-3-1-2)."""

    facts: list[FactUsed]
    candidates: list[Candidate]
    questions: list[Question] = []
    summary: str
