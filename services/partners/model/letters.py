"""What mails to partners say: that there is a request and where to open it, nothing else.

No word about the person: a mailbox may be shared, forwarded, or read over a shoulder. Pure.
"""

from dataclasses import dataclass
from datetime import date, datetime

from contracts.days import PARIS
from contracts.values import Thematique

DESK = "Espace Emploi et Numérique"
_END = f"""
Ce message est envoyé automatiquement par l'{DESK}.
Il ne contient aucune donnée personnelle.
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


def request(
    thematique: Thematique,
    urgent: bool,
    url: str,
    until: date,
    appointment_at: datetime | None = None,
) -> Letter:
    """There is a request, perhaps with an appointment that the desk proposes."""
    met = f"Rendez-vous proposé : {french_moment(appointment_at)}.\n" if appointment_at else ""
    mark = "URGENT : " if urgent else ""
    return Letter(
        f"{mark}Une demande vous attend ({DESK})",
        f"Bonjour,\n\nL'{DESK} vous adresse une demande : {label(thematique)}.\n"
        + met
        + _link(url, until)
        + _END,
    )


def reminder(requested_on: date, url: str, until: date) -> Letter:
    """An answer is awaited."""
    return Letter(
        f"Rappel : une demande attend votre réponse ({DESK})",
        f"Bonjour,\n\nUne demande du {french(requested_on)} attend encore votre réponse.\n"
        + _link(url, until)
        + _END,
    )


def renewal(url: str, until: date) -> Letter:
    """A new link, because the old one ran out."""
    return Letter(
        f"Nouveau lien de réponse ({DESK})",
        "Bonjour,\n\nVoici le nouveau lien que vous avez demandé.\n" + _link(url, until) + _END,
    )


def cancellation(reference: str) -> Letter:
    """A request must not be worked on any more."""
    return Letter(
        f"Demande annulée ({DESK})",
        f"Bonjour,\n\nLa demande de référence {reference} est annulée : merci de ne pas y "
        "donner suite.\n" + _END,
    )


def withdrawal(reference: str) -> Letter:
    """An agreement was withdrawn."""
    return Letter(
        f"Accord retiré : données à supprimer ({DESK})",
        f"Bonjour,\n\nLa personne a retiré son accord pour la demande de référence {reference}."
        "\nMerci de ne pas conserver les informations reçues à ce titre.\n" + _END,
    )


def erasure(reference: str) -> Letter:
    """A person was erased."""
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
}


def disabled(partner: str, endpoint: str, reason: str) -> Letter:
    """An address gets nothing more."""
    why = _DISABLED.get(reason, reason)
    return Letter(
        f"Adresse désactivée : {partner} ({DESK})",
        f"Bonjour,\n\nL'adresse {endpoint} de {partner} est désactivée : {why}.\n"
        "Ce qui l'attendait est parti par un autre canal, ou attend un appel téléphonique.\n"
        "Pour reprendre : enregistrer une adresse, puis demander le nouvel envoi de ce qui "
        "manque.\n" + _END,
    )


def label(thematique: Thematique) -> str:
    """A thématique in words (data·inclusion)."""
    return str(thematique.label)


def french(day: date) -> str:
    """A day as one writes it in France."""
    return f"{day:%d/%m/%Y}"


def french_moment(at: datetime) -> str:
    """A moment as one writes it in France, by the clock there."""
    local = at.astimezone(PARIS)
    return f"le {french(local)} à {local.hour} h {local.minute:02d}"


def _link(url: str, until: date) -> str:
    return _LINK.format(url=url, until=french(until))
