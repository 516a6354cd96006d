"""Each event as a sentence in French, from its clear part alone. Pure."""

from collections.abc import Callable
from typing import Any

from contracts import erasure, intake, partners, persons, referrals, rights
from contracts.base import Event
from contracts.labels import PARTNERS, french, french_moment
from contracts.values import (
    REFERRAL_LABELS,
    Author,
    BusinessStatus,
    CaseStatus,
    ContactMode,
    DeadlineStep,
    HandOver,
    MessageKind,
    Reason,
    Thematique,
)
from services.audit.model.pathway import STATUS_OF_EVENT

_MODES = {
    ContactMode.WALK_IN: "sans rendez-vous",
    ContactMode.APPOINTMENT: "sur rendez-vous",
    ContactMode.PHONE: "par téléphone",
    ContactMode.ONLINE: "en ligne",
    ContactMode.OUTREACH: "hors les murs",
}
_REASONS = {
    Reason.NO_CAPACITY: "plus de place",
    Reason.NOT_ELIGIBLE: "critères non remplis",
    Reason.OUT_OF_AREA: "hors du territoire",
    Reason.SERVICE_CLOSED: "service fermé",
    Reason.MISSING_INFORMATION: "informations manquantes",
    Reason.COULD_NOT_CONTACT: "personne injoignable",
    Reason.CLIENT_DECLINED: "la personne ne le souhaite pas",
    Reason.CLIENT_NO_SHOW: "la personne ne s'est pas présentée",
    Reason.CLIENT_IN_EMPLOYMENT: "la personne est en emploi",
    Reason.CLIENT_IN_TRAINING: "la personne est en formation",
    Reason.DUPLICATE: "doublon",
    Reason.ALREADY_SERVED_ELSEWHERE: "déjà accompagnée ailleurs",
    Reason.REFERRED_ONWARD: "adressée à un autre service",
    Reason.AGREEMENT_WITHDRAWN: "accord retiré",
    Reason.NO_RESPONSE: "sans réponse",
    Reason.SENT_IN_ERROR: "envoyée par erreur",
    Reason.SUPERSEDED: "un autre service a accepté",
    Reason.OTHER: "autre motif",
}
_BUSINESS = {
    BusinessStatus.SENT: "envoyée",
    BusinessStatus.DELIVERED: "remise",
    BusinessStatus.RECEIVED: "reçue",
    BusinessStatus.INFO_REQUESTED: "informations demandées",
    BusinessStatus.APPOINTMENT_SCHEDULED: "rendez-vous fixé",
    BusinessStatus.NO_SHOW: "absence au rendez-vous",
    BusinessStatus.EXCUSED: "absence excusée",
    BusinessStatus.APPOINTMENT_CANCELLED: "rendez-vous annulé",
    BusinessStatus.WAITLISTED: "liste d'attente",
    BusinessStatus.NEEDS_CLIENT_ACTION: "démarche à faire par la personne",
    BusinessStatus.COULD_NOT_CONTACT: "personne injoignable",
    BusinessStatus.UNDER_STUDY: "à l'étude",
    BusinessStatus.COMMISSION_SCHEDULED: "commission prévue",
    BusinessStatus.ENROLLED: "inscription faite",
    BusinessStatus.CANCELLATION_REQUESTED: "annulation demandée",
}
_CLOSED = {
    CaseStatus.ACTIVE: "rouvert",
    CaseStatus.ON_HOLD: "en attente",
    CaseStatus.COMPLETED: "terminé",
    CaseStatus.REVOKED: "abandonné",
    CaseStatus.ENTERED_IN_ERROR: "saisi par erreur",
}
_STEPS_SAID = {
    DeadlineStep.REMIND: "Sans réponse de {} : relance",
    DeadlineStep.ESCALATE: "Toujours sans réponse de {} : à traiter à l'accueil",
    DeadlineStep.EXPIRE: "Délai dépassé sans réponse de {}",
}
_MESSAGES = {
    MessageKind.REQUESTED: "Demande",
    MessageKind.REMINDED: "Relance",
    MessageKind.APPOINTMENT: "Suite d'un rendez-vous",
    MessageKind.CALLED_OFF: "Annulation d'un rendez-vous",
    MessageKind.CANCELLED: "Annulation",
    MessageKind.WITHDRAWN: "Retrait d'accord",
    MessageKind.ERASED: "Demande d'effacement",
}
_HANDED = {
    HandOver.PHONE: "transmis par téléphone",
    HandOver.PAPER: "remis sur papier",
    HandOver.IN_PERSON: "remis en main propre",
}
_AUTHORS = {
    Author.HUB: "la plateforme",
    Author.ADVISER: "l'accueil",
    Author.PARTNER: "le partenaire",
}


_VIEWS = {
    "profile": "identité et situation",
    "proposal": "explication d'une proposition",
    "sheet": "fiche à transmettre",
    "pathway": "parcours",
    "access": "toutes les données",
}
_ERASURES = {
    erasure.ErasureReason.ASKED: "à la demande de la personne",
    erasure.ErasureReason.OBJECTED: "la personne s'oppose au traitement",
    erasure.ErasureReason.RETENTION: "durée de conservation écoulée",
    erasure.ErasureReason.NOT_SERVED: "personne non concernée",
}


def sentence(event: Event) -> str:
    """The event in French, from its clear part alone."""
    if isinstance(event, referrals.ReferralMoved):
        return _sentence_of_move(event)
    say = SENTENCES.get(type(event))
    return say(event) if say else unknown_sentence(event.type)


def unknown_sentence(event_type: str) -> str:
    """For an event whose type, or whose data, nobody here can read."""
    return f"Événement {event_type}"


def _sentence_of_move(event: referrals.ReferralMoved) -> str:
    status = STATUS_OF_EVENT.get(type(event))
    label = REFERRAL_LABELS[status].lower() if status else "suivie"
    refined = f" ({_BUSINESS[event.business_status]})" if event.business_status else ""
    reason = f" : {_REASONS[event.reason]}" if event.reason else ""
    return f"Demande {label} par {_author(event)}{refined}{reason}"


def _author(event: referrals.ReferralMoved | referrals.AppointmentEvent) -> str:
    author = _AUTHORS[event.author]
    if event.on_behalf_of:
        return f"{author}, au nom de : {_AUTHORS[event.on_behalf_of]}"
    return author


def _sentence_of_request(event: referrals.ReferralRequested) -> str:
    at = event.appointment_at
    proposed = f", rendez-vous proposé le {french_moment(at)}" if at else ""
    return f"Demande envoyée à {event.partner_id}{proposed}"


def _sentence_of_contact(event: intake.ContactRecorded) -> str:
    return f"Contact {_MODES[event.mode]}" + (f" ({event.site})" if event.site else "")


def _sentence_of_view(event: rights.RecordViewed) -> str:
    return f"Consultée par {event.viewer} ({_VIEWS.get(event.view, event.view)})"


SENTENCES: dict[type[Event], Callable[[Any], str]] = {
    intake.PersonRegistered: lambda e: (
        "Personne connue sans identité" if e.anonymous else "Personne enregistrée"
    ),
    intake.PersonIdentified: lambda e: "Identité précisée",
    intake.FactsStated: lambda e: "Situation précisée",
    intake.ContactRecorded: _sentence_of_contact,
    intake.NeedExpressed: lambda e: f"Besoin exprimé : {Thematique(e.thematique).label}",
    intake.InformationGiven: lambda e: f"Information donnée : {e.notice}, version {e.version}",
    intake.AgreementGiven: lambda e: (
        f"Accord donné pour {e.partner_id or PARTNERS[e.partner_kind]}"
        f" jusqu'au {french(e.until)}"
    ),
    intake.AgreementWithdrawn: lambda e: (
        "Accord retiré" if e.agreement_id else "Tous les accords retirés"
    ),
    intake.ActivityAttended: lambda e: (
        f"Activité suivie : {e.activity}" + (" (avec aide)" if e.helped else "")
    ),
    persons.DuplicateSuspected: lambda e: "Doublon possible, à vérifier",
    persons.DuplicateDismissed: lambda e: "Doublon écarté : deux personnes différentes",
    persons.PersonMerged: lambda e: "Réunie avec une autre fiche de la même personne",
    persons.PersonShared: lambda e: "Partagée avec un autre système de la commune",
    persons.PersonUnmerged: lambda e: "Fiches de nouveau séparées",
    rights.PersonRectified: lambda e: f"Rectification : {len(e.fields)} information(s)",
    rights.PersonObjected: lambda e: "La personne s'oppose au traitement de ses données",
    rights.PersonRestricted: lambda e: (
        "Traitement limité : données conservées sans être utilisées"
    ),
    rights.PersonUnrestricted: lambda e: "Limitation levée",
    rights.PersonArchived: lambda e: (
        f"Archivée : dernier contact le {french(e.last_contact_on)}"
    ),
    rights.PersonReactivated: lambda e: "Revenue : sortie des archives",
    **dict.fromkeys(rights.VIEWED.values(), lambda e: _sentence_of_view(e)),
    erasure.ErasureRequested: lambda e: f"Effacement demandé : {_ERASURES[e.reason]}",
    erasure.KeysDestroyed: lambda e: "Clés détruites : plus rien ne peut être lu",
    erasure.ForgottenByIntake: lambda e: "Données effacées à l'accueil",
    erasure.ForgottenByReferrals: lambda e: "Données effacées dans les dossiers",
    erasure.ForgottenByPartners: lambda e: "Données effacées dans les envois aux partenaires",
    erasure.ForgottenByAudit: lambda e: "Données effacées à côté du journal",
    erasure.PersonErased: lambda e: "Personne effacée",
    referrals.CaseOpened: lambda e: f"Dossier ouvert : {Thematique(e.thematique).label}",
    referrals.CaseClosed: lambda e: f"Dossier clos : {_CLOSED[e.status]}",
    referrals.CaseExhausted: lambda e: (
        "Plus aucun service à proposer : à reprendre à l'accueil"
    ),
    referrals.CaseRerouted: lambda e: "Dossier poursuivi vers un autre service",
    referrals.ProposalChanged: lambda e: (
        f"Autre choix à l'accueil : {', '.join(e.service_ids)}"
    ),
    referrals.ProposalRefused: lambda e: "Proposition refusée à l'accueil",
    referrals.ProposalMade: lambda e: (
        f"Proposition établie : {len(e.ranked)} service(s) retenu(s), {e.considered} examiné(s)"
    ),
    referrals.ReferralProposed: lambda e: f"Demande proposée vers {e.partner_id}",
    referrals.ReferralConfirmed: lambda e: f"Demande confirmée par {_AUTHORS[e.author]}",
    referrals.ReferralRequested: _sentence_of_request,
    referrals.AnswerRefused: lambda e: "Réponse du partenaire non recevable ; rien n'a changé",
    referrals.AppointmentSet: lambda e: (
        f"Rendez-vous déplacé du {french_moment(e.moved_from)} au {french_moment(e.starts_at)} "
        f"par {_author(e)}"
        if e.moved_from
        else f"Rendez-vous fixé le {french_moment(e.starts_at)} par {_author(e)}"
    ),
    referrals.AppointmentAttended: lambda e: f"Rendez-vous honoré, selon {_author(e)}",
    referrals.AppointmentMissed: lambda e: f"Absence au rendez-vous, selon {_author(e)}",
    referrals.AppointmentExcused: lambda e: f"Rendez-vous excusé ou annulé, selon {_author(e)}",
    referrals.DeadlinePassed: lambda e: _STEPS_SAID[e.step].format(e.partner_id),
    partners.DisclosureMade: lambda e: (
        f"{len(e.fields)} information(s) transmise(s) à {e.partner_id}"
    ),
    partners.DeliverySucceeded: lambda e: (
        f"{_MESSAGES[e.message]} à {e.partner_id} : {_HANDED.get(e.by, 'message remis')}"
    ),
    partners.DeliveryFailed: lambda e: (
        f"{_MESSAGES[e.message]} à {e.partner_id} : message non remis, nouvel essai prévu"
    ),
    partners.DeliveryDeadLettered: lambda e: (
        f"{_MESSAGES[e.message]} à {e.partner_id} : message jamais remis"
    ),
    partners.AnswerLate: lambda e: f"Accord tardif de {e.partner_id}, demande déjà close",
    partners.DeliveryRedelivered: lambda e: (
        f"{_MESSAGES[e.message]} à {e.partner_id} : nouvel envoi demandé"
    ),
    partners.DeliveryChannelChanged: lambda e: (
        f"{_MESSAGES[e.message]} à {e.partner_id} : autre canal après échec"
    ),
    partners.DeliveryAcknowledged: lambda e: (
        f"{_MESSAGES[e.message]} à {e.partner_id} : fichier lu par le partenaire"
    ),
    partners.LinkOpened: lambda e: f"Demande ouverte par {e.partner_id} (lien de réponse)",
    partners.DeliveryManual: lambda e: (
        f"{_MESSAGES[e.message]} à {e.partner_id} : à transmettre par téléphone ou sur papier"
    ),
    partners.AnswerReceived: lambda e: (
        f"Réponse reçue de {e.partner_id} : {REFERRAL_LABELS[e.status].lower()}"
    ),
}
