"""Why a proposal is as it is: facts, conditions, score, questions (CRPA R311-3-1-2)."""

from datetime import date
from typing import Annotated

from pydantic import Field, JsonValue, StringConstraints

from contracts.base import Contract, Sealed
from contracts.bounds import (
    MOST_SERVICES,
    Digest,
    FactValue,
    Id,
    Key,
    Name,
    RowName,
    Sentence,
    Short,
    Word,
)
from contracts.values import CapacityStatus, PartnerKind

Place = Annotated[str, StringConstraints(max_length=20)]
"""A code of a zone, as the directory writes it."""
MOST_NAMED = 3
"""Services that a question names."""
CLOSED: dict[str, JsonValue] = {"additionalProperties": False}


class FactUsed(Contract):
    """A fact that routing looked at, with where it came from."""

    name: Word
    value: FactValue = None
    source: Word | None = None
    as_of: date | None = None


class Condition(Contract):
    """One condition, as applied to this person.

    ``result``: ``matched``, ``failed`` or ``unknown``. ``row``: the row of the rule table that
    says so, with its words and its source; none for conditions on the service itself (zone,
    age, publics).
    """

    code: RowName
    result: Short
    row: RowName | None = None


class ServiceKnown(Contract):
    """What was known of a service when it was considered."""

    zone: Annotated[list[Place], Field(max_length=12)] = []
    minimum_age: int | None = None
    maximum_age: int | None = None
    publics: Annotated[list[Key], Field(max_length=20)] = []
    code_insee: Place | None = None
    capacity: CapacityStatus | None = None
    delay_days: int | None = None
    load: int = 0


class Candidate(Contract):
    """One service that was considered, and why it is proposed or not.

    ``verdict``: ``eligible``, ``not-eligible`` or ``unknown``. ``parts`` sum up to ``score``.
    """

    service_id: Id
    partner_id: Id
    partner_kind: PartnerKind
    name: Name
    thematiques: Annotated[list[Key], Field(max_length=10)] = []
    verdict: Short
    score: float
    parts: Annotated[dict[Short, float], Field(max_length=10, json_schema_extra=CLOSED)] = {}
    conditions: Annotated[list[Condition], Field(max_length=20)]
    known: ServiceKnown = ServiceKnown()


class LeftOut(Contract):
    """Services that were ranked too and are not described one by one: how many, and why.

    ``code`` and ``row``: the first condition that failed for them; none for those that came
    after the ones described.
    """

    count: int
    verdict: Short
    code: RowName | None = None
    row: RowName | None = None


class Question(Contract):
    """A fact to ask for: unknown today, and an answer may change the ranking.

    ``services``: the best of those it is asked for; ``others``: how many more it concerns.
    """

    fact: Word
    text: Annotated[str, StringConstraints(max_length=400)]
    services: Annotated[list[Id], Field(max_length=MOST_NAMED)]
    others: int = 0


class Explanation(Sealed):
    """Everything needed to explain a proposal to the person (CRPA R311-3-1-2).

    ``candidates``: the best ranked, and those that the case has to do with. ``ranking``:
    SHA-256 of the whole ranking, by which it is recognised when it is made again.
    """

    facts: Annotated[list[FactUsed], Field(max_length=40)]
    candidates: Annotated[list[Candidate], Field(max_length=MOST_SERVICES)]
    left_out: Annotated[list[LeftOut], Field(max_length=300)] = []
    questions: Annotated[list[Question], Field(max_length=20)] = []
    summary: Sentence
    ranking: Digest | None = None
