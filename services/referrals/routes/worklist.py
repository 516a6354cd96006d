"""Worklist: cases that need a human; partners who stay silent or send people round."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Query

from contracts.days import local_day
from contracts.kinds import INTERNAL_KINDS
from contracts.public import Ref
from infra.base.clock import Clock
from infra.postgres.database import Database
from infra.web.auth import Principal, RequireRole
from services.referrals.routes.models import (
    Bounces,
    PartnerBounce,
    PartnerSilence,
    Silences,
    Worklist,
    WorklistItem,
)
from services.referrals.tables import queries
from services.referrals.tables.worklist import worklist as worklist_query

Adviser = Annotated[Principal, Depends(RequireRole("adviser"))]
Days = Annotated[int, Query(ge=1, le=730, description="How far back, in days.")]
ProcessingRestriction = Annotated[int, Query(ge=1, le=500)]
LABELS: dict[str, tuple[str, str]] = {
    "to-confirm": (
        "Demande à confirmer",
        "Confirmer avec la personne, choisir un autre service ou refuser.",
    ),
    "unknown-facts": (
        "Information manquante",
        "Poser les questions de la proposition, puis proposer à nouveau.",
    ),
    "partner-asks": (
        "Le partenaire attend une réponse",
        "Compléter ou joindre la personne, puis répondre au partenaire.",
    ),
    "escalated": (
        "Sans réponse du partenaire",
        "Appeler le partenaire et saisir sa réponse, ou annuler.",
    ),
    "exhausted": (
        "Plus de service à solliciter",
        "Revoir la situation avec la personne : choisir un service ou clore.",
    ),
    "delivery-manual": (
        "Demande à transmettre par téléphone ou sur papier",
        "Ouvrir la fiche, appeler le partenaire, puis noter la remise et sa réponse.",
    ),
    "delivery-internal": (
        "Demande à remettre à un service de la commune",
        "Ouvrir la fiche, la remettre au service, puis noter la remise.",
    ),
    "delivery-dead": (
        "Demande non transmise",
        "Voir la cause : demander un nouvel accord, ou joindre le partenaire autrement.",
    ),
    "reminder-manual": (
        "Relance à faire par téléphone",
        "Appeler le partenaire, noter la relance, saisir sa réponse.",
    ),
    "reminder-dead": (
        "Relance non transmise",
        "Joindre le partenaire autrement et saisir sa réponse.",
    ),
    "appointment-manual": (
        "Rendez-vous déplacé à dire par téléphone",
        "Appeler le partenaire : il a encore l'ancienne date ; puis noter la remise.",
    ),
    "appointment-off-manual": (
        "Rendez-vous annulé à dire par téléphone",
        "Appeler le partenaire : il attend encore la personne ; puis noter la remise.",
    ),
    "appointment-off-dead": (
        "Rendez-vous annulé, partenaire non prévenu",
        "Appeler le partenaire : il attend encore la personne.",
    ),
    "appointment-dead": (
        "Rendez-vous déplacé, partenaire non prévenu",
        "Appeler le partenaire : il a encore l'ancienne date.",
    ),
    "cancellation-manual": (
        "Annulation à dire par téléphone",
        "Appeler le partenaire pour qu'il ne donne pas suite, puis noter la remise.",
    ),
    "cancellation-dead": (
        "Annulation non transmise",
        "Joindre le partenaire autrement : qu'il ne donne pas suite ; noter la remise.",
    ),
    "withdrawal-manual": (
        "Retrait d'accord à dire par téléphone",
        "Appeler le partenaire pour qu'il efface ce qu'il a reçu, puis noter la remise.",
    ),
    "withdrawal-dead": (
        "Retrait d'accord non transmis",
        "Joindre le partenaire autrement : qu'il efface ce qu'il a reçu ; noter la remise.",
    ),
    "answer-unclear": (
        "Réponse à éclaircir",
        "Le partenaire a répondu hors délai ou hors procédure : l'appeler.",
    ),
    "no-rules": (
        "Partenaires sans règles",
        "Prévenir l'exploitant : publier des règles pour ce type de partenaire.",
    ),
    "duplicate": (
        "Doublon possible",
        "Comparer les deux personnes, puis fusionner ou écarter.",
    ),
}
"""Reason → what it means, and the next step (French first: advisers read it)."""


def add(routes: APIRouter, database: Database, clock: Clock) -> None:
    """The worklist and the read models on partners."""

    @routes.get("/worklist")
    async def worklist(
        adviser: Adviser,
        limit: ProcessingRestriction = 100,
        offset: Annotated[int, Query(ge=0, le=100_000)] = 0,
    ) -> Worklist:
        """What needs a human: urgent first, then by the day by which it is due."""
        async with database.reading() as connection:
            rows = await connection.select(worklist_query(limit, offset))
        items = []
        for row in rows:
            reason = row.reason
            if reason == "delivery-manual" and row.partner_kind in INTERNAL_KINDS:
                reason = "delivery-internal"
            label, next_step = LABELS[reason]
            shown = {**row._mapping, "reason": reason}
            items.append(WorklistItem(**shown, label=label, next_step=next_step))
        return Worklist(today=local_day(clock()), items=items)

    @routes.get("/partners/silences")
    async def silences(
        adviser: Adviser,
        days: Days = 90,
        after: Ref | None = None,
        limit: ProcessingRestriction = 500,
    ) -> Silences:
        """Per partner: what stays unanswered, what lapsed, how fast the answers come; a page at
        a time."""
        async with database.reading() as connection:
            since = local_day(clock()) - timedelta(days=days)
            rows = await connection.select(queries.silences(since, after, limit))
        following = rows[-1].partner_id if len(rows) == limit else None
        partners = [PartnerSilence(**row._mapping) for row in rows]
        return Silences(since=since, partners=partners, next=following)

    @routes.get("/partners/bounces")
    async def bounces(
        adviser: Adviser, days: Days = 365, limit: ProcessingRestriction = 100
    ) -> Bounces:
        """Persons sent to a partner, to another, and back to the first, for one need; the
        pairs of partners between whom most go."""
        async with database.reading() as connection:
            since = local_day(clock()) - timedelta(days=days)
            rows = await connection.select(queries.bounces(since, limit))
        return Bounces(since=since, bounces=[PartnerBounce(**row._mapping) for row in rows])
