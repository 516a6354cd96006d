"""What a partner may learn of a person: little, and only what the person agreed to. Pure."""

from typing import Any

from contracts.intake import AgreementGiven
from contracts.values import PartnerKind
from services.referrals.model.person import Person

_CONTACT = ("family_name", "given_name", "phone", "email")
MINIMAL_FIELDS: dict[PartnerKind, frozenset[str]] = {
    PartnerKind.FRANCE_TRAVAIL: frozenset(
        {*_CONTACT, "birth_date", "france_travail_number", "commune", "situation", "need_note"}
    ),
    PartnerKind.MISSION_LOCALE: frozenset(
        {*_CONTACT, "birth_date", "commune", "situation", "study_level", "need_note"}
    ),
    PartnerKind.PLIE: frozenset(
        {*_CONTACT, "birth_date", "commune", "situation", "minimum_benefit", "need_note"}
    ),
    PartnerKind.CLAP: frozenset({*_CONTACT, "birth_date", "project"}),
    PartnerKind.TEMP_AGENCY: frozenset({"family_name", "given_name", "phone"}),
    PartnerKind.TRAINING_BODY: frozenset({*_CONTACT, "study_level", "project"}),
    PartnerKind.INFORMATION_JEUNESSE: frozenset({"given_name", "phone", "email"}),
    PartnerKind.DIGITAL_SPACE: frozenset({"given_name", "phone"}),
    PartnerKind.E2C: frozenset({*_CONTACT, "birth_date", "study_level"}),
    PartnerKind.CAP_EMPLOI: frozenset({*_CONTACT, "birth_date", "recognised_disability"}),
}
"""The most that each kind of partner may receive; the agreement can only narrow it."""


def disclosed(
    person: Person, need_note: str | None, kind: PartnerKind, agreement: AgreementGiven
) -> dict[str, Any]:
    """What this kind of partner needs, as far as the person agreed, and nothing else."""
    allowed = MINIMAL_FIELDS[kind] & set(agreement.fields)
    known = person.identity.model_dump(mode="json", exclude_none=True)
    facts = person.facts.model_dump(mode="json", exclude_none=True)
    known |= {name: fact["value"] for name, fact in facts.items()}
    if need_note:
        known["need_note"] = need_note
    return {name: known[name] for name in sorted(allowed) if name in known}
