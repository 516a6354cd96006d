"""Mails to partners: that there is a request and where to open it, nothing else.

No word about the person: a mailbox may be shared, forwarded, or read over a shoulder. Pure.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime

from contracts.labels import french, french_moment
from contracts.referrals import ReferralRequested
from contracts.values import Thematique

_DIGIT, _NAME = re.compile("[0-9]"), re.compile(r"[^\W\d_]{5}|\s")
DESK = "Espace Emploi et Numérique"
_END = f"""
Ce message est envoyé automatiquement par l'{DESK}.
Il ne nomme personne.
"""
_LINK = """
Pour ouvrir la demande et y répondre (sans compte, jusqu'au {until}) :
{url}

Ce lien est réservé à votre structure : ne le transférez pas hors de votre service.
Passé cette date, la même page permet d'en recevoir un nouveau à cette adresse.
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """Subject and text of a mail."""

    subject: str
    text: str


def request(event: ReferralRequested, requester: str, url: str, until: date) -> Letter:
    """Return the letter of a request: who asks, and perhaps a proposed appointment."""
    urgent, thematique, at = event.urgent, event.thematique, event.appointment_at
    met = f"Rendez-vous proposé : le {french_moment(at)}.\n" if at else ""
    mark = "URGENT : " if urgent else ""
    return Letter(
        f"{mark}Une demande vous attend ({DESK})",
        f"Bonjour,\n\nL'{DESK} vous adresse une demande : {label(thematique)}.\n"
        f"De la part de : {requester}\n" + met + _link(url, until) + _END,
    )


def reminder(requested_on: date, theirs: str | None, url: str, until: date) -> Letter:
    """Return the letter that an answer is awaited."""
    return Letter(
        f"Rappel : une demande attend votre réponse ({DESK})",
        f"Bonjour,\n\nUne demande du {french(requested_on)} attend encore votre réponse.\n"
        + _file(theirs)
        + _link(url, until)
        + _END,
    )


def appointment(
    reference: str, theirs: str | None, at: datetime | None, url: str, until: date
) -> Letter:
    """Return the letter of an appointment given or moved (``at``), or called off."""
    about = f"pour la demande de référence {reference}"
    off = f"Le rendez-vous prévu {about} n'aura pas lieu."
    moved = f"Voici le nouveau rendez-vous {about} : le {french_moment(at)}." if at else None
    return Letter(
        f"Rendez-vous {'déplacé' if at else 'annulé'} ({DESK})",
        f"Bonjour,\n\n{moved or off}\n" + _file(theirs) + _link(url, until) + _END,
    )


def renewal(url: str, until: date) -> Letter:
    """Return the letter of a new link, because the old one ran out."""
    return Letter(
        f"Nouveau lien de réponse ({DESK})",
        "Bonjour,\n\nVoici le nouveau lien que vous avez demandé.\n" + _link(url, until) + _END,
    )


def capacity(service: str, url: str, until: date) -> Letter:
    """Return the letter of a link by which a service's room is reported."""
    return Letter(
        f"Places disponibles : {service} ({DESK})",
        f"Bonjour,\n\nL'{DESK} adresse des personnes à votre service {service}.\n"
        f"Pour dire s'il y a de la place (sans compte, jusqu'au {french(until)}) :\n{url}\n"
        + _END,
    )


def cancellation(reference: str, theirs: str | None) -> Letter:
    """Return the letter that a request must not be worked on any more."""
    return Letter(
        f"Demande annulée ({DESK})",
        f"Bonjour,\n\nLa demande de référence {reference} est annulée : merci de ne pas y "
        "donner suite.\n" + _file(theirs) + _END,
    )


def withdrawal(reference: str, theirs: str | None) -> Letter:
    """Return the letter that an agreement was withdrawn."""
    return Letter(
        f"Accord retiré : données à supprimer ({DESK})",
        f"Bonjour,\n\nLa personne a retiré son accord pour la demande de référence {reference}."
        "\nMerci de ne pas conserver les informations reçues à ce titre.\n"
        + _file(theirs)
        + _END,
    )


def erasure(reference: str) -> Letter:
    """Return the letter that a person was erased."""
    return Letter(
        f"Données à effacer ({DESK})",
        "Bonjour,\n\nLes données de la personne concernée par la demande de référence "
        f"{reference} ont été effacées chez nous.\nMerci d'effacer aussi celles que vous avez "
        "reçues à ce titre, sauf obligation légale de les conserver.\n" + _END,
    )


_DISABLED = {
    "gone": "elle a répondu qu'elle n'existe plus ou ne veut plus de messages",
    "failing": "aucun message n'y est arrivé depuis plusieurs jours",
    "unverified": "elle n'a jamais confirmé vouloir nos messages",
    "by-operator": "à la demande de la commune",
    "by-partner": "à la demande du partenaire",
}


def disabled(partner: str, endpoint: str, reason: str) -> Letter:
    """Return the letter that an address gets nothing more."""
    why = _DISABLED.get(reason, reason)
    return Letter(
        f"Adresse désactivée : {partner} ({DESK})",
        f"Bonjour,\n\nL'adresse {endpoint} de {partner} est désactivée : {why}.\n"
        "Ce qui l'attendait est parti par un autre canal, ou attend un appel téléphonique.\n"
        "Pour reprendre : enregistrer une adresse, puis demander le nouvel envoi de ce qui "
        "manque.\n" + _END,
    )


def label(thematique: Thematique) -> str:
    """Return a thématique in words (data·inclusion)."""
    return str(thematique.label)


def _file(theirs: str | None) -> str:
    return f"Votre dossier : {theirs}\n" if theirs and mailable(theirs) else ""


def mailable(reference: str) -> bool:
    """Return whether a partner's number of a file is one: words may be a name."""
    return bool(_DIGIT.search(reference)) and not _NAME.search(reference)


def _link(url: str, until: date) -> str:
    return _LINK.format(url=url, until=french(until))
