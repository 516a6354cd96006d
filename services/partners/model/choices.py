"""Answers that a partner may give on the page, as one choice each, in each state. Pure."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from contracts.types import read_day, read_local
from contracts.values import (
    AUTHOR_OF_REASON,
    Author,
    BusinessStatus,
    PartnerKind,
    Reason,
    ReferralStatus,
)
from contracts.webhooks import Answer
from services.partners.model.answers import ForbiddenTransitionError, check_answer

S, B = ReferralStatus, BusinessStatus
REASONS: dict[Reason, str] = {
    Reason.NO_CAPACITY: "Plus de place",
    Reason.NOT_ELIGIBLE: "La personne ne remplit pas les conditions",
    Reason.OUT_OF_AREA: "Hors de notre territoire",
    Reason.SERVICE_CLOSED: "Service fermé",
    Reason.MISSING_INFORMATION: "Il manque des informations",
    Reason.COULD_NOT_CONTACT: "Personne injoignable",
    Reason.CLIENT_DECLINED: "La personne ne souhaite pas donner suite",
    Reason.CLIENT_NO_SHOW: "La personne ne s'est pas présentée",
    Reason.CLIENT_IN_EMPLOYMENT: "La personne est en emploi",
    Reason.CLIENT_IN_TRAINING: "La personne est en formation",
    Reason.DUPLICATE: "Demande en double",
    Reason.ALREADY_SERVED_ELSEWHERE: "Déjà accompagnée ailleurs",
    Reason.REFERRED_ONWARD: "Une autre structure convient mieux",
    Reason.OTHER: "Autre (à préciser)",
}
"""The reasons that a partner may give, in words."""
STOPPED: dict[Reason, str] = {
    Reason.AGREEMENT_WITHDRAWN: "La personne a retiré son accord",
    Reason.NO_RESPONSE: "Restée sans réponse",
    Reason.SENT_IN_ERROR: "Envoyée par erreur",
    Reason.SUPERSEDED: "Un autre service a accepté",
}
"""Those that only our side gives."""
OUTCOMES = {
    "support-started": "Accompagnement engagé",
    "enrolled": "Entrée en formation",
    "job-found": "Emploi trouvé",
    "other-help": "Autre aide apportée",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One answer; ``fields`` are those that go with it, ``needs`` those that must.

    ``kinds``: of partners that answer so; all, if none is named.
    """

    code: str
    label: str
    status: ReferralStatus
    business_status: BusinessStatus | None = None
    fields: tuple[str, ...] = ()
    reason: Reason | None = None
    needs: frozenset[str] = frozenset()
    kinds: frozenset[PartnerKind] = frozenset()

    def answer(self, referral_id: UUID) -> dict[str, Any]:
        """Return the fields of an answer that the choice alone decides."""
        return {
            "referral_id": referral_id,
            "status": self.status,
            "business_status": self.business_status,
            "reason": self.reason,
        }


CHOICES = (
    Choice("under-study", "Nous étudions la demande", S.REQUESTED, B.UNDER_STUDY),
    Choice(
        "commission", "Elle passe en commission", S.REQUESTED, B.COMMISSION_SCHEDULED,
        ("commission_on",),
    ),
    Choice(
        "information-session", "Nous invitons la personne à une réunion d'information",
        S.REQUESTED, B.APPOINTMENT_SCHEDULED, ("appointment_at",),
        needs=frozenset({"appointment_at"}), kinds=frozenset({PartnerKind.TRAINING_BODY}),
    ),
    Choice("accepted", "Nous acceptons la demande", S.ACCEPTED, None, ("appointment_at",)),
    Choice("started", "L'accompagnement a commencé", S.IN_PROGRESS),
    Choice(
        "waitlisted", "La personne est sur liste d'attente", S.ON_HOLD, B.WAITLISTED,
        reason=Reason.NO_CAPACITY,
    ),
    Choice("completed", "L'accompagnement est terminé", S.COMPLETED, None, ("outcome",)),
    Choice(
        "rejected", "Nous ne pouvons pas donner suite", S.REJECTED, None,
        ("reason", "no_capacity_until"),
    ),
    Choice("failed", "Nous n'avons pas pu aboutir", S.FAILED, None, ("reason",)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class FormError(Exception):
    """A field of the form that cannot be: its name, and why, in French."""

    field: str
    detail: str


def open_choices(
    current: ReferralStatus, referral_id: UUID, kind: PartnerKind | None
) -> list[Choice]:
    """Return what a partner of this kind may answer to a referral in this state."""

    def possible(choice: Choice) -> bool:
        try:
            check_answer(current, Answer.model_construct(**choice.answer(referral_id)))
        except ForbiddenTransitionError:
            return False
        return True

    theirs = (choice for choice in CHOICES if not choice.kinds or kind in choice.kinds)
    return [choice for choice in theirs if possible(choice)]


def partner_reasons() -> dict[Reason, str]:
    """Return the reasons to choose from."""
    return {r: text for r, text in REASONS.items() if Author.PARTNER in AUTHOR_OF_REASON[r]}


def spoken(
    form: dict[str, str],
    current: ReferralStatus,
    referral_id: UUID,
    kind: PartnerKind | None,
) -> Answer:
    """Return the answer that a form stands for; raises ``FormError`` naming a field."""
    choices = {choice.code: choice for choice in open_choices(current, referral_id, kind)}
    choice = choices.get(form.get("choice", ""))
    if choice is None:
        raise FormError("choice", "Choisissez une réponse")
    values = choice.answer(referral_id) | {
        "comment": form.get("comment", "").strip() or None,
        "partner_reference": form.get("partner_reference", "").strip() or None,
    }
    values |= {name: _field(name, form.get(name, "").strip()) for name in choice.fields}
    for name in choice.needs:
        if values[name] is None:
            raise FormError(name, _MISSING[name])
    try:
        return Answer.model_validate(values)
    except ValidationError as error:
        name = str(error.errors()[0]["loc"][0])
        raise FormError(name, _MISSING.get(name, "Cette valeur n'est pas valable")) from error


def _field(name: str, text: str) -> Any:
    if not text:
        return None
    try:
        if name in ("commission_on", "no_capacity_until"):
            return read_day(text)
        if name == "appointment_at":
            return read_local(text)
    except ValueError as error:
        raise FormError(name, "Indiquez une date valable") from error
    return text


_MISSING = {
    "reason": "Choisissez un motif",
    "outcome": "Choisissez un résultat",
    "commission_on": "Indiquez la date de la commission",
    "appointment_at": "Indiquez la date et l'heure de la réunion",
    "comment": "Précisez le motif en quelques mots",
    "partner_reference": "Cette référence est trop longue",
}
