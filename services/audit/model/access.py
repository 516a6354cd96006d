"""Account to a person of all that is held of them (RGPD art. 15). Pure.

In the words of the timeline, and by subject: who they are, what was proposed and why, who got
what, who looked. Colleagues are named by their role: it is the use that counts, not the name.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from contracts.intake import FactsStated, PersonIdentified, PersonRegistered
from contracts.partners import DisclosureMade
from contracts.referrals import ProposalMade
from contracts.rights import VIEWED

ROLES = {
    "adviser": "accueil",
    "privacy": "responsable des données",
    "auditor": "contrôle",
    "partner_admin": "administration des partenaires",
    "municipal": "système municipal",
    "partner": "partenaire",
    "hub": "plateforme",
    "policy": "règle automatique",
}
_TELLING = {
    PersonRegistered.type: "identity",
    PersonIdentified.type: "identity",
    FactsStated.type: "facts",
}
_VIEWED = frozenset(event.type for event in VIEWED.values())


def account(opened: dict[str, Any], partners: Mapping[str, str]) -> dict[str, Any]:
    """From an opened pathway (``timeline`` items with their ``personal`` part).

    ``partners``: the name of each by its id (``names_of``); whoever received something of a
    person is named to them (RGPD art. 15.1.c).
    """
    timeline = [_named(item, partners) for item in opened["timeline"]]
    known: dict[str, Any] = {}  # identity and facts as stated, a later word over an earlier one
    for item in timeline:
        known |= (item["personal"] or {}).get(_TELLING.get(item["type"], ""), {})
    return opened | {
        "known": known,
        "proposals": [_proposal(i) for i in timeline if i["type"] == ProposalMade.type],
        "disclosures": [
            _disclosure(i, partners) for i in timeline if i["type"] == DisclosureMade.type
        ],
        "views": [_view(item) for item in opened["timeline"] if item["type"] in _VIEWED],
        "timeline": timeline,
        "referrals": {i: _roles(state) for i, state in opened["referrals"].items()},
    }


def names_of(registrations: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Partner id → its name as last registered, in order of the log."""
    return {data["partner_id"]: data["name"] for data in registrations}


def _proposal(item: dict[str, Any]) -> dict[str, Any]:
    part = item["personal"] or {}
    return {
        "time": item["time"],
        "rules": item["data"].get("rules"),
        "rules_digest": item["data"].get("rules_digest"),
        "summary": part.get("summary"),
        "facts": part.get("facts", []),
        "candidates": part.get("candidates", []),
    }


def _disclosure(item: dict[str, Any], partners: Mapping[str, str]) -> dict[str, Any]:
    partner_id = item["data"].get("partner_id")
    return {"time": item["time"], "partner": partners.get(partner_id, partner_id)} | {
        name: item["data"].get(name)
        for name in ("partner_id", "fields", "referral_id", "agreement_id")
    }


def _view(item: dict[str, Any]) -> dict[str, Any]:
    data, part = item["data"], item["personal"] or {}
    return {
        "time": item["time"],
        "by": role_of(data["viewer"]),
        "view": data["view"],
        "fields": data["fields"],
        "reason": part.get("reason"),
    }


def _named(item: dict[str, Any], partners: Mapping[str, str]) -> dict[str, Any]:
    """Partners by name; colleagues without, since their role says what matters."""
    sentence, data = str(item["sentence"]), item["data"]
    viewer, partner_id = data.get("viewer"), data.get("partner_id")
    if partner_id in partners:
        sentence = sentence.replace(partner_id, partners[partner_id])
    if viewer:
        sentence = sentence.replace(viewer, role_of(viewer))
    named = {"actor": role_of(item["actor"]), "sentence": sentence}
    return item | named | {"data": _roles(data)}


def _roles(data: dict[str, Any]) -> dict[str, Any]:
    return {k: role_of(v) if k in _BY and v else v for k, v in data.items()}


_BY = frozenset(
    (
        "viewer",
        "confirmed_by",
        "changed_by",
        "refused_by",
        "merged_by",
        "unmerged_by",
        "dismissed_by",
        "rectified_by",
        "asked_by",
    )
)


def role_of(actor: str) -> str:
    """A role in words; of an unknown one, its code."""
    role = actor.partition(":")[0]
    return ROLES.get(role, role)
