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


class LeftOut(Contract):
    """Services that were ranked too and are not described one by one: how many, and why.

    ``code`` and ``row``: the first condition that failed for them; none for those that came
    after the ones described.
    """

    count: int
    verdict: str
    code: str | None = None
    row: str | None = None


class Question(Contract):
    """A fact to ask for: unknown today, and an answer may change the ranking.

    ``services``: those that are described; ``others``: how many more it concerns.
    """

    fact: str
    text: str
    services: list[str]
    others: int = 0


class Explanation(Sealed):
    """Everything needed to explain a proposal to the person (CRPA R311-3-1-2).

    ``candidates``: the best ranked, and those that the case has to do with. ``ranking``:
    SHA-256 of the whole ranking, by which it is recognised when it is made again.
    """

    facts: list[FactUsed]
    candidates: list[Candidate]
    left_out: list[LeftOut] = []
    questions: list[Question] = []
    summary: str
    ranking: str | None = None
