"""Explanation of a ranking, as stored: the best in full, the others counted, questions. Pure.

A département's directory has thousands of services for one need: a proposal describes those
that may come into play, counts the rest by their reason, and bears a digest of the whole
ranking, which rules, directory and facts give again (docs/adr/0026).
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from datetime import date

from contracts.bounds import MOST_SERVICES
from contracts.checks.communes import zones_of
from contracts.explanation import (
    MOST_NAMED,
    Candidate,
    Condition,
    Explanation,
    LeftOut,
    Question,
    ServiceKnown,
)
from contracts.values import PartnerKind
from services.referrals.model.conditions import nearest_zones
from services.referrals.model.person import Person
from services.referrals.model.routing import (
    DERIVED,
    MAX_ATTEMPTS,
    NOT_ELIGIBLE,
    Ranked,
    Service,
    known_facts,
    rank,
)
from services.referrals.model.rules import FAILED, UNKNOWN, Rules

DESCRIBED = 30
"""How many services a proposal describes, the best first; far more than are ever asked."""
DESCRIBED_BESIDES = MOST_SERVICES - DESCRIBED
"""How many more at most: those of the case that came out further down."""
MOST_QUESTIONS = 20


def propose(
    thematique: str,
    person: Person,
    services: Iterable[Service],
    rules: Rules,
    day: date,
    asked: Set[str] = frozenset(),
) -> Explanation:
    """Rank the services for a need and say why; the same arguments give the same proposal.

    ``asked``: services that the case has to do with already: described wherever they come out.
    """
    facts = known_facts(person, day)
    values = {name: fact.value for name, fact in facts.items()}
    ranked = rank(thematique, values, services, rules)
    besides = [r for r in ranked[DESCRIBED:] if r.service.service_id in asked]
    shown = [*ranked[:DESCRIBED], *besides[:DESCRIBED_BESIDES]]
    zones = zones_of(values["commune"]) if "commune" in values else frozenset()
    summary = "Aucun service ne convient automatiquement : un conseiller étudie la situation."
    if names := [one.service.name for one in ranked if one.verdict != NOT_ELIGIBLE]:
        best = ", puis ".join(names[:MAX_ATTEMPTS])
        summary = f"Proposition de contact, à confirmer avec la personne : {best}."
    return Explanation(
        facts=list(facts.values()),
        candidates=[_candidate(one, thematique, zones) for one in shown],
        left_out=_left_out(ranked, shown),
        questions=_questions(ranked, rules),
        summary=summary,
        ranking=digest_of(ranked),
    )


def considered(explanation: Explanation) -> int:
    """Return how many services were ranked."""
    return len(explanation.candidates) + sum(left.count for left in explanation.left_out)


def digest_of(ranked: Sequence[Ranked]) -> str:
    """Return the SHA-256 of a ranking: each service in its place, with verdict and score."""
    lines = (f"{r.service.service_id}\t{r.verdict}\t{r.score}\n" for r in ranked)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _left_out(ranked: Sequence[Ranked], shown: Sequence[Ranked]) -> list[LeftOut]:
    if len(shown) == len(ranked):
        return []
    described = {one.service.service_id for one in shown}
    counts: Counter[tuple[str, str | None, str | None]] = Counter()
    for one in ranked:
        if one.service.service_id not in described:
            failed = next((c for c in one.conditions if c.result == FAILED), None)
            code, row = (failed.code, failed.row) if failed else (None, None)
            counts[one.verdict, code, row] += 1
    return [
        LeftOut(count=count, verdict=verdict, code=code, row=row)
        for (verdict, code, row), count in counts.items()
    ]


def _candidate(ranked: Ranked, thematique: str, zones: Set[str]) -> Candidate:
    service, category = ranked.service, thematique.partition("--")[0]
    return Candidate.model_construct(
        service_id=service.service_id,
        partner_id=service.partner_id,
        partner_kind=service.kind,
        name=service.name,
        thematiques=[t for t in service.thematiques if t.partition("--")[0] == category],
        verdict=ranked.verdict,
        score=ranked.score,
        parts=dict(ranked.parts),
        conditions=list(ranked.conditions),
        known=ServiceKnown.model_construct(
            zone=nearest_zones(service.zone, zones),
            minimum_age=service.minimum_age,
            maximum_age=service.maximum_age,
            publics=list(service.publics),
            code_insee=service.code_insee,
            capacity=service.capacity,
            delay_days=service.delay_days,
            load=service.load,
        ),
    )


def reevaluate(explanation: Explanation, thematique: str, rules: Rules) -> list[Ranked]:
    """Rank the services that a proposal describes again, from nothing but what was stored.

    The same rules give the same verdicts, scores and order.
    """
    facts = {fact.name: fact.value for fact in explanation.facts}
    services = [
        Service(
            service_id=candidate.service_id,
            partner_id=candidate.partner_id,
            kind=candidate.partner_kind,
            name=candidate.name,
            thematiques=tuple(candidate.thematiques),
            zone=tuple(candidate.known.zone),
            minimum_age=candidate.known.minimum_age,
            maximum_age=candidate.known.maximum_age,
            publics=tuple(candidate.known.publics),
            code_insee=candidate.known.code_insee,
            capacity=candidate.known.capacity,
            delay_days=candidate.known.delay_days,
            load=candidate.known.load,
        )
        for candidate in explanation.candidates
    ]
    return rank(thematique, facts, services, rules)


_OPEN_QUESTION = "Que faut-il encore savoir de votre situation ?"
_ASKED = {
    "in-zone": ("commune", "Dans quelle commune habitez-vous ?"),
    "service-age": ("birth_date", "Quelle est votre date de naissance ?"),
    "publics": ("situation", "Quelle est votre situation ?"),
}


def _questions(ranked: Sequence[Ranked], rules: Rules) -> list[Question]:
    """Ask for the facts that are unknown and keep a service from being sure.

    A service that is out anyway asks for nothing: an answer would change nothing for it.
    """
    asked: dict[str, tuple[str, dict[str, None]]] = {}
    for one in ranked:
        if one.verdict == UNKNOWN:
            for condition in one.conditions:
                if condition.result == UNKNOWN:
                    fact, text = _question_of(condition, one.service.kind, rules)
                    asked.setdefault(text, (fact, {}))[1][one.service.service_id] = None
    return [
        Question(
            fact=fact,
            text=text,
            services=list(services)[:MOST_NAMED],
            others=max(len(services) - MOST_NAMED, 0),
        )
        for text, (fact, services) in list(asked.items())[:MOST_QUESTIONS]
    ]


def _question_of(condition: Condition, kind: PartnerKind, rules: Rules) -> tuple[str, str]:
    if condition.row is None and condition.code in _ASKED:
        return _ASKED[condition.code]
    rows = rules.tables[kind].rows
    if condition.row is None:  # the table is silent: it may still have a question
        asking = (row for row in rows.values() if row.condition == condition.code)
        row = next((row for row in asking if row.question), None)
        if row is None:
            return condition.code, _OPEN_QUESTION
    else:
        row = rows[condition.row]
    unknown = next((name for name, cell in row.cells.items() if "null" in cell), condition.code)
    return _ORIGINS.get(unknown, unknown), row.question


_ORIGINS = {name: derived.origin for name, derived in DERIVED.items()}
