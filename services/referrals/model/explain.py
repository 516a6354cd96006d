"""A proposal explained to the person, in plain French (CRPA, article R311-3-1-2). Pure.

The article names four things: the degree and mode in which the processing contributed, the
data and their sources, the parameters with their weight as applied to the person, and the
operations carried out. It holds whatever part a human had (Etalab's guide to algorithms).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contracts.base import Event
from contracts.explanation import Condition, Explanation, LeftOut
from contracts.fields import FIELDS, RULE_FACTS
from contracts.referrals import (
    ProposalChanged,
    ProposalMade,
    ProposalRefused,
    ReferralConfirmed,
)
from contracts.values import Author, FactSource
from services.referrals.model.routing import DERIVED, ELIGIBLE, NOT_ELIGIBLE
from services.referrals.model.rules import FAILED, MATCHED, Rules

PURPOSE = (
    "Ce traitement classe les services de partenaires qui peuvent répondre à un besoin, pour "
    "proposer un contact. Il ne refuse jamais personne : un conseiller peut toujours choisir "
    "autrement, et la personne peut toujours dire non."
)
RIGHTS = (
    "Vous pouvez obtenir les règles de ce traitement et leur application à votre situation "
    "(code des relations entre le public et l'administration, articles L311-3-1 et "
    "R311-3-1-2), auprès de l'accueil ou sur la page publique des règles. Sans réponse sous "
    "un mois, vous pouvez saisir la CADA."
)
_FACTS = {name: FIELDS[name].explained or FIELDS[name].label for name in RULE_FACTS}
_FACTS |= {name: derived.label for name, derived in DERIVED.items()}
_SOURCES = {
    FactSource.DECLARED: "déclaré par vous",
    FactSource.DOCUMENT: "vu sur un document",
    FactSource.PARTNER: "dit par un partenaire",
}
_PARTS = {
    "fit": "correspond au besoin",
    "preference": "vocation du partenaire pour ce public",
    "certainty": "conditions encore à vérifier",
    "capacity": "places disponibles",
    "delay": "délai habituel",
    "distance": "distance",
    "load": "demandes déjà en cours",
}
_OWN = {
    ("in-zone", MATCHED): "Le service couvre votre commune.",
    ("in-zone", FAILED): "Le service ne couvre pas votre commune.",
    ("service-age", MATCHED): "Le service reçoit les personnes de votre âge.",
    ("service-age", FAILED): "Le service ne reçoit pas les personnes de votre âge.",
    ("publics", MATCHED): "Le service s'adresse à un public dont vous faites partie.",
    ("publics", FAILED): "Le service s'adresse à d'autres publics.",
    ("no-rules", FAILED): "Aucune règle n'est en vigueur pour ce type de partenaire.",
}
_OWN_UNKNOWN = "Une information manque pour le savoir."
_VERDICTS = {ELIGIBLE: "proposé", NOT_ELIGIBLE: "non proposé"}
_MAYBE = "possible, à vérifier avec vous"
_LOWER = {ELIGIBLE: "Conviennent aussi, mais viennent après dans le classement."}
_LOWER_MAYBE = "Possibles, à vérifier avec vous, mais viennent après dans le classement."


@dataclass(frozen=True, slots=True)
class ProposalRecord:
    """A proposal as it is known: the event, the rules of its digest, what humans did."""

    made: ProposalMade
    rules: Rules | None
    after: Sequence[Event] = ()


def explain(proposal: ProposalRecord) -> dict[str, Any]:
    """Return the four things, as data; of an erased person, only what stands in clear."""
    made, sealed = proposal.made, proposal.made.sealed
    rules: dict[str, Any] = {"name": made.rules, "digest": made.rules_digest}
    if proposal.rules:
        rules |= {"version": proposal.rules.version}
    clear = {
        "proposal_id": made.proposal_id,
        "purpose": PURPOSE,
        "rights": RIGHTS,
        "rules": rules,
        "evaluated_on": made.evaluated_on,
        "contribution": _contribution(proposal),
        "erased": sealed is None,
    }
    return clear | _opened(sealed, proposal.rules) if sealed else clear


def _opened(sealed: Explanation, rules: Rules | None) -> dict[str, Any]:
    """The part about the person: data, parameters with their weights, operations."""
    facts = [
        {
            "fact": fact.name,
            "label": _FACTS.get(fact.name, fact.name),
            "value": fact.value,
            "source": _SOURCES.get(FactSource(fact.source)) if fact.source else None,
            "as_of": fact.as_of,
        }
        for fact in sealed.facts
    ]
    parameters = [
        {
            "service_id": candidate.service_id,
            "name": candidate.name,
            "score": candidate.score,
            "weights": [
                {"part": name, "label": _PARTS.get(name, name), "weight": value}
                for name, value in candidate.parts.items()
            ],
        }
        for candidate in sealed.candidates
    ]
    operations = [
        {
            "service_id": candidate.service_id,
            "name": candidate.name,
            "verdict": candidate.verdict,
            "text": _VERDICTS.get(candidate.verdict, _MAYBE),
            "conditions": [_applied(condition, rules) for condition in candidate.conditions],
        }
        for candidate in sealed.candidates
    ]
    ranked = [c for c in sealed.candidates if c.verdict != NOT_ELIGIBLE]
    return {
        "summary": sealed.summary,
        "data": facts,
        "parameters": parameters,
        "operations": operations,
        "alternatives": [{"service_id": c.service_id, "name": c.name} for c in ranked[1:]],
        "more": [_more(left, rules) for left in sealed.left_out],
        "questions": [question.text for question in sealed.questions],
    }


def _more(left: LeftOut, rules: Rules | None) -> dict[str, Any]:
    """Count of services that are not described one by one, and their common reason."""
    if left.code is None:
        text = _LOWER.get(left.verdict, _LOWER_MAYBE)
    else:
        text = _applied(Condition(code=left.code, result=FAILED, row=left.row), rules)["text"]
    return {"count": left.count, "verdict": left.verdict, "code": left.code, "text": text}


def _contribution(proposal: ProposalRecord) -> dict[str, Any]:
    """The degree and mode in which the processing contributed, and what humans did."""
    mode = "Le classement est calculé ; un conseiller le confirme, le change ou le refuse."
    if proposal.made.policy == "auto":
        mode = (
            "Le classement est calculé ; pour ce service, le contact peut être pris sans autre "
            "confirmation, avec votre accord."
        )
    humans: list[dict[str, Any]] = []
    for event in proposal.after:
        match event:
            case ReferralConfirmed(confirmed_by=by) if event.author is not Author.HUB:
                humans.append({"did": "confirmed", "by": by, "text": "Confirmé à l'accueil"})
            case ReferralConfirmed(confirmed_by=by):
                humans.append({"did": "sent", "by": by, "text": "Envoyé selon la règle"})
            case ProposalChanged(changed_by=by, service_ids=services):
                why = event.sealed and event.sealed.comment
                changed = {"did": "changed", "by": by, "text": "Autre choix fait à l'accueil"}
                humans.append({**changed, "why": why, "services": services})
            case ProposalRefused(refused_by=by):
                why = event.sealed and event.sealed.comment
                text = "Proposition refusée à l'accueil"
                humans.append({"did": "refused", "by": by, "text": text, "why": why})
    return {"mode": mode, "humans": humans}


def _applied(condition: Condition, rules: Rules | None) -> dict[str, Any]:
    row = rules.row(condition.row) if rules and condition.row else None
    own = _OWN.get((condition.code, condition.result), _OWN_UNKNOWN)
    return {
        "code": condition.code,
        "result": condition.result,
        "text": row.text if row else own,
        "source": row.source if row else None,
    }


def plain_text(explained: dict[str, Any]) -> str:
    """Return an explanation for the person to read: plain French, one thing a line."""
    lines = [explained["purpose"], "", explained["contribution"]["mode"]]
    lines += [f"- {h['text']} ({h['by']})" for h in explained["contribution"]["humans"]]
    if explained["erased"]:
        return "\n".join([*lines, "", "Les données de la personne ont été effacées."]) + "\n"
    lines += ["", explained["summary"], "", "Informations utilisées"]
    lines += [f"- {_fact_line(fact)}" for fact in explained["data"]] or ["- aucune"]
    scores = {p["service_id"]: p for p in explained["parameters"]}
    lines += ["", "Services examinés, dans l'ordre"]
    for number, one in enumerate(explained["operations"], start=1):
        lines += _service_lines(number, one, scores[one["service_id"]])
    if explained["more"]:
        count = sum(left["count"] for left in explained["more"])
        lines += ["", f"Autres services examinés : {count}"]
        lines += [f"- {left['count']} : {left['text']}" for left in explained["more"]]
    if explained["questions"]:
        lines += ["", "Ce qui pourrait changer ce classement"]
        lines += [f"- {question}" for question in explained["questions"]]
    return "\n".join([*lines, "", explained["rights"]]) + "\n"


def _fact_line(fact: dict[str, Any]) -> str:
    known = [fact["source"], f"au {fact['as_of']:%d/%m/%Y}" if fact["as_of"] else None]
    about = ", ".join(part for part in known if part)
    return f"{fact['label']} : {fact['value']}" + (f" ({about})" if about else "")


def _service_lines(number: int, one: dict[str, Any], scored: dict[str, Any]) -> list[str]:
    lines = [f"{number}. {one['name']} : {one['text']}"]
    lines += [
        f"   - {c['text']}" + (f" [{c['source']}]" if c["source"] else "")
        for c in one["conditions"]
    ]
    if one["verdict"] != NOT_ELIGIBLE:
        parts = ", ".join(f"{w['label']} {w['weight']:+g}" for w in scored["weights"])
        lines.append(f"   Classement : {scored['score']:g} ({parts})")
    return lines
