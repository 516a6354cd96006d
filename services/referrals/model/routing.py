"""Routing: the services proposed for a need, their order, and the reasons. Pure.

The rule set says whom each kind of partner takes; the directory adds the conditions of a
service itself (zone, age, publics). An unknown fact excludes nobody: it makes a question. A
kind of partner without rules is never proposed. The same arguments always give the same
ranking (``proposals`` makes of it what is stored).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from contracts.checks.communes import zones_of
from contracts.explanation import Condition, FactUsed
from contracts.fields import NOT_KNOWN, RULE_FACTS, Facts
from contracts.partners import Deadlines
from contracts.values import CapacityStatus, PartnerKind
from services.referrals.model.conditions import (
    distance_of,
    in_age,
    in_publics,
    in_zone,
)
from services.referrals.model.person import Person, age_on, months_between
from services.referrals.model.rules import FAILED, UNKNOWN, Rules

MAX_ATTEMPTS = 3
ELIGIBLE, NOT_ELIGIBLE = "eligible", "not-eligible"
NO_RULES = Condition(code="no-rules", result=FAILED)
"""Of every service of a kind that the rule set has no table for."""
_RANK = {ELIGIBLE: 0, UNKNOWN: 1, NOT_ELIGIBLE: 2}


@dataclass(frozen=True, slots=True)
class Service:
    """A partner's service, as the directory describes it.

    ``delay_days``: usual working days until a first appointment; ``load``: referrals that are
    open there now; ``capacity``: what the partner last said, None if nothing (valid).
    """

    service_id: str
    partner_id: str
    kind: PartnerKind
    name: str
    thematiques: tuple[str, ...]
    zone: tuple[str, ...] = ()
    minimum_age: int | None = None
    maximum_age: int | None = None
    policy: str = "confirm"
    publics: tuple[str, ...] = ()
    code_insee: str | None = None
    capacity: CapacityStatus | None = None
    delay_days: int | None = None
    load: int = 0
    commission: bool = False
    opening: str | None = None
    deadlines: Deadlines = field(default_factory=Deadlines)
    categories: frozenset[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        categories = frozenset(t.partition("--")[0] for t in self.thematiques)
        object.__setattr__(self, "categories", categories)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A service in its place, with the reasons."""

    service: Service
    verdict: str
    score: float
    parts: Mapping[str, float]
    conditions: tuple[Condition, ...]

    @property
    def order(self) -> tuple[int, float, str]:
        """Order of a ranking: verdict, then score; the id makes it the same each time."""
        return _RANK[self.verdict], -self.score, self.service.service_id


def known_facts(person: Person, day: date) -> dict[str, FactUsed]:
    """Return the facts that routing looks at on a day, by name, with source and date.

    ``age``, ``registered_months`` and ``has_project`` are derived; what is true only after the
    day, or was stated as unknown, is not known.
    """
    known = {}
    for name in Facts.model_fields:
        fact = getattr(person.facts, name)
        if fact is None or fact.value == NOT_KNOWN or (fact.as_of and fact.as_of > day):
            continue
        known[name] = FactUsed(
            name=name, value=fact.value, source=fact.source, as_of=fact.as_of
        )
    for name, derived in DERIVED.items():
        if origin := known.get(derived.origin):
            value = derived.derive(origin.value, day)
            known[name] = origin.model_copy(update={"name": name, "value": value})
    for name in Facts.model_fields.keys() - RULE_FACTS:
        known.pop(name, None)  # free text: that there is one is all that counts here
    return known


class Derived(NamedTuple):
    """A fact that rules look at and nobody states: its name for the person, its origin."""

    label: str
    origin: str
    derive: Callable[[Any, date], Any]


DERIVED = {
    "age": Derived("Âge", "birth_date", age_on),
    "registered_months": Derived(
        "Mois d'inscription à France Travail",
        "registered_with_france_travail_since",
        months_between,
    ),
    "has_project": Derived("Projet", "project", lambda text, day: True),
}


class _Applied:
    """One person's facts applied to services: what services share is worked out once."""

    def __init__(self, facts: Mapping[str, Any], thematique: str, rules: Rules) -> None:
        self.facts = facts
        self.thematique = thematique
        self.weights = rules.weights
        self._rules = rules
        self._by_kind: dict[PartnerKind, tuple[Condition, ...]] = {}
        self._by_zone: dict[tuple[str, ...], tuple[Condition, ...]] = {}
        self._by_age: dict[tuple[int | None, int | None], tuple[Condition, ...]] = {}
        self._by_publics: dict[tuple[str, ...], tuple[Condition, ...]] = {}
        self._by_place: dict[str | None, float] = {}
        commune = facts.get("commune")
        self._zones = zones_of(commune) if commune else None

    def rank(self, service: Service) -> Ranked:
        """Judge a service: its verdict, its score and its reasons."""
        conditions = self._conditions(service)
        results = {condition.result for condition in conditions}
        verdict = ELIGIBLE
        if FAILED in results:
            verdict = NOT_ELIGIBLE
        elif UNKNOWN in results:
            verdict = UNKNOWN
        parts = self._parts(service, verdict)
        return Ranked(service, verdict, round(sum(parts.values()), 3), parts, conditions)

    def _conditions(self, service: Service) -> tuple[Condition, ...]:
        zone, publics = service.zone, service.publics
        ages = (service.minimum_age, service.maximum_age)
        by_zone, by_age = self._by_zone.get(zone), self._by_age.get(ages)
        by_publics, by_kind = self._by_publics.get(publics), self._by_kind.get(service.kind)
        if by_zone is None:
            by_zone = self._by_zone[zone] = (in_zone(zone, self._zones),)
        if by_age is None:
            by_age = self._by_age[ages] = in_age(ages, self.facts.get("age"))
        if by_publics is None:
            by_publics = self._by_publics[publics] = in_publics(publics, self.facts)
        if by_kind is None:
            table = self._rules.tables.get(service.kind)
            by_kind = self._by_kind[service.kind] = (
                table.conditions(self.facts) if table else (NO_RULES,)
            )
        return by_zone + by_age + by_publics + by_kind

    def _parts(self, service: Service, verdict: str) -> dict[str, float]:
        weights, place = self.weights, service.code_insee
        exact = self.thematique in service.thematiques
        distance = self._by_place.get(place)
        if distance is None:
            distance = self._by_place[place] = distance_of(place, self._zones, weights)
        parts = {
            "fit": weights.fit_exact if exact else weights.fit_category,
            "preference": weights.preference.get(service.kind, 0.0),
        }
        if distance:
            parts["distance"] = distance
        if verdict == UNKNOWN:
            parts["certainty"] = weights.unknown
        if service.capacity is CapacityStatus.NO_CAPACITY:
            parts["capacity"] = weights.no_capacity
        elif service.capacity is CapacityStatus.WAITLIST:
            parts["capacity"] = weights.waitlist
        if service.delay_days:
            delay = service.delay_days / 5 * weights.delay_per_week
            parts["delay"] = round(max(delay, weights.delay_most), 3)
        if service.load:
            load = service.load * weights.load_per_open
            parts["load"] = round(max(load, weights.load_most), 3)
        return parts


def concerned(services: Iterable[Service], thematique: str) -> list[Service]:
    """Return the services for exactly this thématique, or at least of its category."""
    category = thematique.partition("--")[0]
    return [s for s in services if category in s.categories]


def rank(
    thematique: str, facts: Mapping[str, Any], services: Iterable[Service], rules: Rules
) -> list[Ranked]:
    """Rank services, each with its reasons; ``facts`` by name, unknown ones absent."""
    applied = _Applied(facts, thematique, rules)
    ranked = [applied.rank(service) for service in concerned(services, thematique)]
    ranked.sort(key=lambda one: one.order)
    return ranked
