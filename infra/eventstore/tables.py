"""The tables that every service has, as Core tables: ``schema.py`` and its like make them.

Selects name them beside a service's own; a test compares all of them with the migrations.
"""

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
)

from infra.postgres.tables import MOMENT, table

SHARED = MetaData()

EVENTS = table(
    SHARED,
    "events",
    [
        Column("position", BigInteger, primary_key=True),
        Column("event_id", Uuid, nullable=False),
        Column("stream", Text, nullable=False),
        Column("version", Integer, nullable=False),
        Column("type", Text, nullable=False),
        Column("person_id", Uuid),
        Column("occurred_at", MOMENT, nullable=False),
        Column("recorded_at", MOMENT, nullable=False),
        Column("data", JSON, nullable=False),
        Column("sealed", LargeBinary),
        Column("meta", JSON, nullable=False),
        Column("salt", LargeBinary, nullable=False),
        Column("sealed_salt", LargeBinary),
        Column("sealed_commitment", LargeBinary),
        Column("entry", LargeBinary, nullable=False),
    ],
)
OFFSETS = table(
    SHARED,
    "offsets",
    [
        Column("subscription", Text, primary_key=True),
        Column("source", Text, primary_key=True),
        Column("partition", Integer, primary_key=True),
        Column("next", BigInteger, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("identity", Uuid),
        Column("updated_at", MOMENT, nullable=False),
    ],
)
SUBSCRIPTIONS = table(
    SHARED,
    "subscriptions",
    [
        Column("subscription", Text, primary_key=True),
        Column("paused", Boolean, nullable=False),
        Column("reason", Text),
        Column("since", MOMENT, nullable=False),
    ],
)
DEAD_LETTERS = table(
    SHARED,
    "dead_letters",
    [
        Column("id", BigInteger, primary_key=True),
        Column("subscription", Text, nullable=False),
        Column("source", Text, nullable=False),
        Column("partition", Integer, nullable=False),
        Column("offset", BigInteger, nullable=False),
        Column("position", BigInteger),
        Column("key", Text, nullable=False),
        Column("record", LargeBinary, nullable=False),
        Column("error", Text, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("parked_at", MOMENT, nullable=False),
    ],
)
ALARMS = table(
    SHARED,
    "alarms",
    [
        Column("kind", Text, primary_key=True),
        Column("subject", Text, primary_key=True),
        Column("since", MOMENT, nullable=False),
        Column("last_at", MOMENT, nullable=False),
        Column("count", BigInteger, nullable=False),
        Column("detail", Text, nullable=False),
        Column("acknowledged_at", MOMENT),
    ],
)
API_KEYS = table(
    SHARED,
    "api_keys",
    [
        Column("digest", LargeBinary, primary_key=True),
        Column("name", Text, nullable=False),
        Column("role", Text, nullable=False),
        Column("scope", ARRAY(Text), nullable=False),
        Column("created_at", MOMENT, nullable=False),
        Column("revoked_at", MOMENT),
    ],
)
PUBLICATION = table(
    SHARED,
    "publication",
    [
        Column("one", Boolean, primary_key=True),
        Column("generation", Uuid),
        Column("topic_id", Uuid),
        Column("starts", ARRAY(BigInteger), nullable=False),
        Column("lasts", ARRAY(BigInteger), nullable=False),
        Column("since", MOMENT, nullable=False),
    ],
)
FORGOTTEN = table(
    SHARED,
    "forgotten",
    [
        Column("person_id", Uuid, primary_key=True),
        Column("forgotten_at", MOMENT, nullable=False),
    ],
)
LIMITS = table(
    SHARED,
    "limits",
    [
        Column("person_id", Uuid, primary_key=True),
        Column("kind", Text, primary_key=True),
        Column("since", MOMENT, nullable=False),
    ],
)
