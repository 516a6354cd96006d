"""The intake's tables, for Core selects; a test compares them with the migrations."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    Uuid,
)

from infra.postgres.tables import MOMENT, table

METADATA = MetaData()

INBOX = table(
    METADATA,
    "inbox",
    [
        Column("key", LargeBinary, primary_key=True),
        Column("person_id", Uuid),
        Column("digest", LargeBinary),
        Column("created", LargeBinary),
        Column("received_at", MOMENT, nullable=False),
    ],
)
PERSONS = table(
    METADATA,
    "persons",
    [
        Column("person_id", Uuid, primary_key=True),
        Column("registered_at", MOMENT, nullable=False),
    ],
)
PERSON_REFS = table(
    METADATA,
    "person_refs",
    [
        Column("ref", LargeBinary, primary_key=True),
        Column("person_id", Uuid, nullable=False),
    ],
)
PERSON_SOURCES = table(
    METADATA,
    "person_sources",
    [
        Column("person_id", Uuid, primary_key=True),
        Column("source", LargeBinary, primary_key=True),
    ],
)
REFUSED_RECORDS = table(
    METADATA,
    "refused_records",
    [
        Column("topic", Text, primary_key=True),
        Column("partition", Integer, primary_key=True),
        Column("offset", BigInteger, primary_key=True),
        Column("reason", Text, nullable=False),
        Column("fields", ARRAY(Text), nullable=False),
        Column("raw", LargeBinary, nullable=False),
        Column("sender", LargeBinary),
        Column("attempts", Integer, nullable=False),
        Column("refused_at", MOMENT, nullable=False),
    ],
)
PERSON_INDEX = table(
    METADATA,
    "person_index",
    [
        Column("person_id", Uuid, primary_key=True),
        Column("kind", Text, primary_key=True),
        Column("digest", LargeBinary, nullable=False),
    ],
)
SUSPICIONS = table(
    METADATA,
    "suspicions",
    [
        Column("person_id", Uuid, primary_key=True),
        Column("other_id", Uuid, primary_key=True),
        Column("matched_on", ARRAY(Text), nullable=False),
        Column("status", Text, nullable=False),
        Column("since", MOMENT, nullable=False),
    ],
)
ALIASES = table(
    METADATA,
    "aliases",
    [
        Column("person_id", Uuid, primary_key=True),
        Column("into_id", Uuid, nullable=False),
    ],
)
STAYS = table(
    METADATA,
    "stays",
    [
        Column("person_id", Uuid, primary_key=True),
        Column("last_contact_on", Date, nullable=False),
        Column("site", Text),
        Column("archived", Boolean, nullable=False),
    ],
)
OPEN_WORK = table(
    METADATA,
    "open_work",
    [
        Column("work_id", Uuid, primary_key=True),
        Column("person_id", Uuid, nullable=False),
        Column("open", Boolean, nullable=False),
    ],
)
