"""The referral service's own tables, declared; a test compares them with the migrations."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Computed,
    Date,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
)

from infra.postgres.tables import MOMENT, table

METADATA = MetaData()

PERSON_EVENTS = table(
    METADATA,
    "person_events",
    [
        Column("event_id", Uuid, primary_key=True),
        Column("person_id", Uuid, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("type", Text, nullable=False),
        Column("occurred_at", MOMENT, nullable=False),
        Column("data", JSON, nullable=False),
        Column("sealed", LargeBinary),
    ],
)
"""The intake's events on persons, still sealed."""
ALIASES = table(
    METADATA,
    "aliases",
    [
        Column("person_id", Uuid, primary_key=True),
        Column("into_id", Uuid, nullable=False),
    ],
)
"""Persons merged into others."""
DUPLICATES = table(
    METADATA,
    "duplicates",
    [
        Column("person_id", Uuid, primary_key=True),
        Column("other_id", Uuid, primary_key=True),
        Column("since", Date, nullable=False),
    ],
)
"""Open suspicions, for the worklist."""
SERVICES = table(
    METADATA,
    "services",
    [
        Column("service_id", Text, primary_key=True),
        Column("published", JSON),
        Column("position", BigInteger, nullable=False),
        Column("capacity", Text),
        Column("capacity_until", Date),
        Column("capacity_at", MOMENT),
    ],
)
"""The directory, as its partners publish it."""
UNDELIVERED = table(
    METADATA,
    "undelivered",
    [
        Column("referral_id", Uuid, primary_key=True),
        Column("message", Text, primary_key=True),
        Column("trouble", Text, nullable=False),
        Column("error", Text, nullable=False),
        Column("since", Date, nullable=False),
    ],
)
"""Messages that partners have not got; ``trouble``: manual (by hand) or dead (given up)."""
RULES = table(
    METADATA,
    "rules",
    [
        Column("version", Integer, primary_key=True, autoincrement=False),
        Column("rules", Text, nullable=False),
        Column("digest", Text, nullable=False),
        Column("content", JSON, nullable=False),
        Column("published_at", MOMENT, nullable=False),
    ],
)
CASES = table(
    METADATA,
    "cases",
    [
        Column("case_id", Uuid, primary_key=True),
        Column("person_id", Uuid, nullable=False),
        Column("need_id", Uuid, nullable=False),
        Column("thematique", Text, nullable=False),
        Column("urgent", Boolean, nullable=False),
        Column("do_not_contact", Boolean, nullable=False),
        Column("parallel", Boolean, nullable=False),
        Column("status", Text, nullable=False),
        Column("outcome", Text),
        Column("proposal_id", Uuid),
        Column("questions", Integer, nullable=False),
        Column("exhausted", Text),
        Column("exhausted_due", Date),
        Column("opened_at", MOMENT, nullable=False),
    ],
)
PROPOSALS = table(
    METADATA,
    "proposals",
    [
        Column("proposal_id", Uuid, primary_key=True),
        Column("case_id", Uuid, nullable=False),
        Column("rules_digest", Text, nullable=False),
        Column("evaluated_on", Date, nullable=False),
    ],
)
_NEXT_ON = """
CASE WHEN awaits IS DISTINCT FROM 'partner'::text THEN NULL::date
     WHEN passed IS NULL THEN COALESCE(remind_on, escalate_on, expire_on)
     WHEN passed = 'remind'::text THEN COALESCE(escalate_on, expire_on)
     WHEN passed = 'escalate'::text THEN expire_on
     ELSE NULL::date
END
"""
"""The day of the next step that has not been taken, while the partner is waited for."""
REFERRALS = table(
    METADATA,
    "referrals",
    [
        Column("referral_id", Uuid, primary_key=True),
        Column("case_id", Uuid, nullable=False),
        Column("person_id", Uuid, nullable=False),
        Column("proposal_id", Uuid, nullable=False),
        Column("partner_id", Text, nullable=False),
        Column("partner_kind", Text, nullable=False),
        Column("service_id", Text, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("replaces", Uuid),
        Column("status", Text, nullable=False),
        Column("business_status", Text),
        Column("reason", Text),
        Column("outcome", Text),
        Column("agreement_id", Uuid),
        Column("appointment_at", MOMENT),
        Column("commission_on", Date),
        Column("suggested_service_id", Text),
        Column("requested_on", Date),
        Column("answered_at", MOMENT),  # the partner's first sign
        Column("refused_answer", Text),  # what it asked for, too late or otherwise
        Column("awaits", Text),  # whose turn it is
        Column("remind_on", Date),
        Column("escalate_on", Date),
        Column("expire_on", Date),
        Column("passed", Text),  # the last of these steps that was taken
        Column("next_on", Date, Computed(_NEXT_ON, persisted=True)),
        Column("updated_at", MOMENT, nullable=False),
    ],
)
