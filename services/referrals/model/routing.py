"""Which services are proposed for a need, in which order, and why. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from contracts.intake import Facts
from contracts.referrals import Candidate, Condition, Explanation, FactUsed
from contracts.values import PartnerKind
from services.referrals.model.person import Person, age_on

MAX_ATTEMPTS = 3
ELIGIBLE, NOT_ELIGIBLE, UNKNOWN = "eligible", "not-eligible", "unknown"


@dataclass(frozen=True)
class RuleCondition:
    """One row of the eligibility table of a partner kind."""

    code: str
    text: str
    question: str
    needs: tuple[str, ...]
    holds: Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True)
class Rules:
    """A version of the rule table; ``digest`` identifies its exact content."""

    name: str
    digest: str
    conditions: Mapping[PartnerKind, Sequence[RuleCondition]]
    preference: Mapping[PartnerKind, float]


@dataclass(frozen=True, slots=True)
class Service:
    """A partner's service, as the directory describes it."""

    service_id: str
    partner_id: str
    kind: PartnerKind
    name: str
    thematiques: tuple[str, ...]
    zone: tuple[str, ...] = ()
    minimum_age: int | None = None
    maximum_age: int | None = None
    policy: str = "confirm"


def known_facts(person: Person, day: date) -> dict[str, FactUsed]:
    """The facts that routing may look at, by name, with source and date; ``age`` is derived."""
    found = {}
    for name in Facts.model_fields:
        fact = getattr(person.facts, name)
        if fact is not None and fact.value != "unknown":
            found[name] = FactUsed(
                name=name, value=fact.value, source=fact.source, as_of=fact.as_of
            )
    if "birth_date" in found:
        age = age_on(found["birth_date"].value, day)
        found["age"] = found["birth_date"].model_copy(update={"name": "age", "value": age})
    return found


ZONES: dict[str, frozenset[str]] = {
    "59459": frozenset({"59459", "245901160", "59", "france"}),
}
"""Commune → the zones it lies in (commune, EPCI, département, country)."""


def zones_of(commune: str) -> frozenset[str]:
    """The zones a commune lies in; its EPCI only where we know it."""
    department = commune[:3] if commune.startswith("97") else commune[:2]
    return ZONES.get(commune, frozenset({commune, department, "france"}))


def assess(
    service: Service, thematique: str, facts: Mapping[str, FactUsed], rules: Rules
) -> Candidate:
    """Whether a service suits, and each condition as applied to this person."""
    conditions = [
        _in_zone(service, facts),
        *_in_age(service, facts),
        *(_rule(rule, facts) for rule in rules.conditions.get(service.kind, ())),
    ]
    results = {c.result for c in conditions}
    unsure = UNKNOWN if UNKNOWN in results else ELIGIBLE
    verdict = NOT_ELIGIBLE if "failed" in results else unsure
    fit = 10.0 if thematique in service.thematiques else 5.0
    score = fit + rules.preference.get(service.kind, 0) - (3 if verdict == UNKNOWN else 0)
    return Candidate(
        service_id=service.service_id,
        partner_id=service.partner_id,
        partner_kind=service.kind,
        name=service.name,
        verdict=verdict,
        score=score,
        conditions=conditions,
    )


def _condition(code: str, text: str, holds: bool | None) -> Condition:
    result = UNKNOWN if holds is None else "matched" if holds else "failed"
    return Condition(code=code, text=text, result=result)


def _in_zone(service: Service, facts: Mapping[str, FactUsed]) -> Condition:
    text = "Le service couvre la commune de la personne."
    if not service.zone:
        return _condition("in-zone", text, True)
    if "commune" not in facts:
        return _condition("in-zone", text, None)
    return _condition("in-zone", text, bool(zones_of(facts["commune"].value) & {*service.zone}))


def _in_age(service: Service, facts: Mapping[str, FactUsed]) -> list[Condition]:
    low, high = service.minimum_age, service.maximum_age
    if low is None and high is None:
        return []
    text = f"Le service reçoit les personnes de {low or 0} à {high or 'tout âge'} ans."
    age = facts["age"].value if "age" in facts else None
    holds = None if age is None else (low or 0) <= age <= (high if high is not None else 200)
    return [_condition("service-age", text, holds)]


def _rule(rule: RuleCondition, facts: Mapping[str, FactUsed]) -> Condition:
    if any(name not in facts for name in rule.needs):
        return _condition(rule.code, rule.text, None)
    values = {name: facts[name].value for name in rule.needs}
    return _condition(rule.code, rule.text, rule.holds(values))


def concerned(services: Iterable[Service], thematique: str) -> list[Service]:
    """Services for exactly this thématique, or at least of its category."""
    category = thematique.split("--")[0]
    return [s for s in services if any(t.split("--")[0] == category for t in s.thematiques)]


def propose(
    thematique: str, person: Person, services: Iterable[Service], rules: Rules, day: date
) -> Explanation:
    """Rank the services for a need and say why; the same arguments give the same proposal."""
    facts = known_facts(person, day)
    found = [assess(s, thematique, facts, rules) for s in concerned(services, thematique)]
    found.sort(key=lambda c: (c.verdict == NOT_ELIGIBLE, -c.score, c.service_id))
    ranked = [c for c in found if c.verdict != NOT_ELIGIBLE]
    return Explanation(
        facts=list(facts.values()),
        candidates=found,
        questions=_questions(found, facts, rules),
        summary=_summary(ranked),
    )


def _questions(
    candidates: Sequence[Candidate], facts: Mapping[str, FactUsed], rules: Rules
) -> list[str]:
    asked: dict[str, None] = {}
    for candidate in candidates:
        if candidate.verdict == UNKNOWN:
            for rule in rules.conditions.get(candidate.partner_kind, ()):
                if any(name not in facts for name in rule.needs):
                    asked[rule.question] = None
            if any(c.code == "in-zone" and c.result == UNKNOWN for c in candidate.conditions):
                asked["Dans quelle commune la personne habite-t-elle ?"] = None
    return list(asked)


def _summary(ranked: Sequence[Candidate]) -> str:
    if not ranked:
        return "Aucun service ne convient automatiquement : un conseiller étudie la situation."
    names = ", puis ".join(c.name for c in ranked[:MAX_ATTEMPTS])
    return f"Proposition de contact, à confirmer avec la personne : {names}."
