"""The partner service's tables, as its migrations make them (a test compares the two)."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    Identity,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSON

from infra.postgres.tables import MOMENT, table

METADATA = MetaData()

PARTNERS = table(
    METADATA,
    "partners",
    [
        Column("partner_id", Text, primary_key=True),
        Column("kind", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("structure", JSON, nullable=False),
    ],
)
PARTNER_NAMES = table(
    METADATA,
    "partner_names",
    [
        Column("partner_id", Text, primary_key=True),
        Column("since", Date, primary_key=True),
        Column("name", Text, nullable=False),
    ],
)
SERVICES = table(
    METADATA,
    "services",
    [
        Column("service_id", Text, primary_key=True),
        Column("partner_id", Text, nullable=False),
        Column("kind", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("policy", Text, nullable=False),
        Column("commission", Boolean, nullable=False),
        Column("published", JSON, nullable=False),
        Column("withdrawn", Boolean, nullable=False),
        Column("capacity", Text),
        Column("seats", Integer),
        Column("capacity_until", Date),
        Column("capacity_at", MOMENT),
        Column("sessions", ARRAY(MOMENT)),
    ],
)
REFERRAL_STATES = table(
    METADATA,
    "referral_states",
    [
        Column("referral_id", Uuid, primary_key=True),
        Column("partner_id", Text, nullable=False),
        Column("service_id", Text, nullable=False),
        Column("case_id", Uuid, nullable=False),
        Column("person_id", Uuid, nullable=False),
        Column("status", Text, nullable=False),
        Column("asked_status", Text),
        Column("asked_answer_id", Uuid),
        Column("commission_on", Date),
        Column("appointment_at", MOMENT),
        Column("partner_reference", LargeBinary),
        Column("updated_version", Integer, nullable=False),
    ],
)
ENDPOINTS = table(
    METADATA,
    "endpoints",
    [
        Column("endpoint_id", Uuid, primary_key=True),
        Column("partner_id", Text, nullable=False),
        Column("service_ids", ARRAY(Text), nullable=False),
        Column("channel", Text, nullable=False),
        Column("rank", Integer, nullable=False),
        Column("url", Text, nullable=False),
        Column("ordering", Text, nullable=False),
        Column("per_minute", Integer),
        Column("concurrency", Integer),
        Column("state", Text, nullable=False),
        Column("reason", Text),
        Column("verified_at", MOMENT),
        Column("failures", Integer, nullable=False),
        Column("failing_since", MOMENT),
        Column("open_until", MOMENT),
        Column("rate_at", MOMENT),
        Column("batch_minutes", Integer),
        Column("keeps_appointments", Boolean, nullable=False),
        Column("created_at", MOMENT, nullable=False),
    ],
)
ENDPOINT_SECRETS = table(
    METADATA,
    "endpoint_secrets",
    [
        Column("secret_id", Uuid, primary_key=True),
        Column("endpoint_id", Uuid, nullable=False),
        Column("kind", Text, nullable=False),
        Column("wrapped", LargeBinary, nullable=False),
        Column("created_at", MOMENT, nullable=False),
        Column("expires_at", MOMENT),
    ],
)
DELIVERIES = table(
    METADATA,
    "deliveries",
    [
        Column("seq", BigInteger, Identity(always=True), nullable=False, unique=True),
        Column("delivery_id", Uuid, primary_key=True),
        Column("endpoint_id", Uuid),
        Column("partner_id", Text, nullable=False),
        Column("service_id", Text, nullable=False),
        Column("referral_id", Uuid, nullable=False),
        Column("person_id", Uuid, nullable=False),
        Column("message", Text, nullable=False),
        Column("event_id", Uuid, nullable=False),
        Column("event_type", Text, nullable=False),
        Column("occurred_at", MOMENT, nullable=False),
        Column("data", Text, nullable=False),
        Column("sealed", LargeBinary),
        Column("partner_reference", LargeBinary),
        Column("traceparent", Text),
        Column("agreement_id", Uuid),
        Column("agreed_until", Date),
        Column("state", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("tries_before", Integer, nullable=False),
        Column("in_vain", Integer, nullable=False),
        Column("disclosed", Boolean, nullable=False),
        Column("next_attempt_at", MOMENT),
        Column("lease", Uuid),
        Column("external_id", Text),
        Column("last_error", Text),
        Column("last_status", Integer),
        Column("file", Text),
        Column("acknowledged_at", MOMENT),
        Column("created_at", MOMENT, nullable=False),
        Column("updated_at", MOMENT, nullable=False),
    ],
)
DELIVERY_ATTEMPTS = table(
    METADATA,
    "delivery_attempts",
    [
        Column("delivery_id", Uuid, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("endpoint_id", Uuid),
        Column("sent_at", MOMENT, nullable=False),
        Column("outcome", Text, nullable=False),
        Column("status", Integer),
        Column("error", Text),
        Column("duration_ms", Integer, nullable=False),
    ],
)
WITHDRAWALS = table(
    METADATA,
    "withdrawals",
    [
        Column("person_id", Uuid, nullable=False),
        Column("agreement_id", Uuid),
        Column("withdrawn_at", MOMENT, nullable=False),
    ],
)
ANSWER_LINKS = table(
    METADATA,
    "answer_links",
    [
        Column("token_digest", LargeBinary, primary_key=True),
        Column("referral_id", Uuid, nullable=False),
        Column("partner_id", Text, nullable=False),
        Column("person_id", Uuid, nullable=False),
        Column("endpoint_id", Uuid, nullable=False),
        Column("created_at", MOMENT, nullable=False),
        Column("expires_at", MOMENT, nullable=False),
        Column("opened_at", MOMENT),
        Column("renewed_at", MOMENT),
    ],
)
CAPACITY_LINKS = table(
    METADATA,
    "capacity_links",
    [
        Column("token_digest", LargeBinary, primary_key=True),
        Column("service_id", Text, nullable=False),
        Column("partner_id", Text, nullable=False),
        Column("mailbox", Text, nullable=False),
        Column("created_at", MOMENT, nullable=False),
        Column("expires_at", MOMENT, nullable=False),
        Column("renewed_at", MOMENT),
    ],
)
ANSWERS = table(
    METADATA,
    "answers",
    [
        Column("partner_id", Text, primary_key=True),
        Column("id_digest", LargeBinary, primary_key=True),
        Column("body_digest", LargeBinary, nullable=False),
        Column("answer_id", Uuid, nullable=False, unique=True),
        Column("referral_id", Uuid, nullable=False),
        Column("person_id", Uuid, nullable=False),
        Column("status", Text, nullable=False),
        Column("received_at", MOMENT, nullable=False),
    ],
)
