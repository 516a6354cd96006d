"""A sheet for an adviser who phones, writes or walks over: one page of A4, nothing to click."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from starlette.responses import Response

from contracts.labels import format_value, french_moment
from contracts.values import HandedTo, HandOver, MessageKind, Reason, Thematique
from contracts.webhooks import RequesterPart
from services.partners.handlers.manual import Sheet
from services.partners.model import letters
from services.partners.model.choices import REASONS, STOPPED, partner_reasons
from services.partners.model.requesters import spoken
from services.partners.model.sheets import Contact
from services.partners.pages.rendering import disclosed, heading_of, page

_TITLES = {
    MessageKind.REQUESTED: "Demande à transmettre",
    MessageKind.REMINDED: "Relance : une demande attend une réponse",
    MessageKind.APPOINTMENT: "Rendez-vous déplacé : prévenir le partenaire",
    MessageKind.CALLED_OFF: "Rendez-vous annulé : prévenir le partenaire",
    MessageKind.CANCELLED: "Demande annulée : ne pas y donner suite",
    MessageKind.WITHDRAWN: "Accord retiré : effacer ce qui a été reçu",
    MessageKind.ERASED: "Personne effacée : effacer ce qui a été reçu, sauf obligation légale",
}
_ABOUT = {
    "referral_id": "Référence",
    "partner_reference": "Dossier chez le partenaire",
    "thematique": "Besoin",
    "appointment_at": "Rendez-vous proposé",
    "requested_on": "Demande du",
    "expires_on": "Réponse attendue avant le",
    "reason": "Motif",
    "withdrawn_on": "Retrait du",
    "erased_on": "Effacée le",
}
_SPELLED: dict[str, Callable[[Any], str]] = {
    "thematique": lambda value: letters.label(Thematique(value)),
    "reason": lambda value: (REASONS | STOPPED)[Reason(value)],
    "appointment_at": lambda value: f"le {french_moment(datetime.fromisoformat(value))}",
}
_BLANKS = {
    "appointment_at": "rendez-vous le",
    "commission_on": "le",
    "outcome": "résultat",
    "no_capacity_until": "complet jusqu’au",
}
WAYS = {
    HandOver.PHONE: "Par téléphone",
    HandOver.PAPER: "Sur papier",
    HandOver.IN_PERSON: "En main propre",
}
ROLES = {
    HandedTo.RECEPTION: "accueil",
    HandedTo.ADVISER: "conseiller",
    HandedTo.MANAGER: "responsable",
    HandedTo.OTHER: "autre",
}


def sheet_page(sheet: Sheet) -> Response:
    """Return the sheet, to print."""
    return page(
        "sheet",
        200,
        sheet=sheet,
        title=_TITLES[sheet.message],
        contact=list(_contact(sheet.contact)),
        about=list(_about(sheet.data)),
        heading=heading_of(sheet.kind),
        fields=disclosed(sheet.data.get("person", {})),
        until=format_value(sheet.data.get("agreed_until", "")),
        reasons=partner_reasons(),
        blanks=_BLANKS,
        ways=WAYS.values(),
        roles=ROLES.values(),
    )


def _contact(contact: Contact) -> Iterator[tuple[str, str]]:
    yield "Partenaire", contact.partner
    yield "Service", contact.service
    if contact.person:
        yield "Contact", contact.person
    yield "Téléphone", contact.phone or "absent de l’annuaire"
    for name, value in (
        ("Courriel", contact.email),
        ("Adresse", contact.address),
        ("Horaires", contact.opening),
    ):
        if value:
            yield name, value


def _about(data: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for name, heading in _ABOUT.items():
        if name in data:
            yield heading, _SPELLED.get(name, format_value)(data[name])
    if "requester" in data:
        yield "De la part de", spoken(RequesterPart.model_validate(data["requester"]))
