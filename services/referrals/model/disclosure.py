"""Disclosure of a person to a partner: little, and only what the person agreed to. Pure."""

from typing import Any

from contracts.intake import AgreementGiven
from contracts.kinds import KINDS
from contracts.values import PartnerKind
from services.referrals.model.person import Person

MINIMAL_FIELDS = {kind: entry.may_get for kind, entry in KINDS.items()}
"""The most that each kind of partner may receive; the agreement can only narrow it."""


def disclosed(
    person: Person, need_note: str | None, kind: PartnerKind, agreement: AgreementGiven
) -> dict[str, Any]:
    """Return what this kind of partner needs, as far as the person agreed, and nothing else."""
    allowed = MINIMAL_FIELDS[kind] & set(agreement.fields)
    known = person.identity.model_dump(mode="json", exclude_none=True)
    facts = person.facts.model_dump(mode="json", exclude_none=True)
    known |= {name: fact["value"] for name, fact in facts.items()}
    if need_note:
        known["need_note"] = need_note
    return {name: known[name] for name in sorted(allowed) if name in known}
