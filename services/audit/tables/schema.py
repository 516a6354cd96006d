"""The audit service's own tables, declared; a test compares them with the migrations."""

from sqlalchemy import (
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

METADATA = MetaData()

ENTRIES = table(
    METADATA,
    "entries",
    [
        Column("idx", BigInteger, primary_key=True, autoincrement=False),
        Column("event_id", Uuid, nullable=False, unique=True),
        Column("service", Text, nullable=False),
        Column("position", BigInteger, nullable=False),
        Column("stream", Text, nullable=False),
        Column("version", Integer, nullable=False),
        Column("type", Text, nullable=False),
        Column("person_id", Uuid),
        Column("occurred_at", MOMENT, nullable=False),
        Column("recorded_at", MOMENT, nullable=False),
        Column("actor", Text, nullable=False),
        Column("header", LargeBinary, nullable=False),
        Column("data", JSON, nullable=False),
        Column("sealed", LargeBinary),
        Column("salt", LargeBinary, nullable=False),
        Column("sealed_salt", LargeBinary),
        Column("meta", JSON, nullable=False),
        Column("entry", LargeBinary, nullable=False),
        Column("leaf_hash", LargeBinary, nullable=False),
    ],
)
"""The log: every event of every service at its index, with the bytes that were hashed."""

STREAMS = table(
    METADATA,
    "streams",
    [
        Column("service", Text, primary_key=True),
        Column("stream", Text, primary_key=True),
        Column("version", Integer, nullable=False),
    ],
)
"""Version of the last event of each stream that is in the log."""

NODES = table(
    METADATA,
    "nodes",
    [
        Column("level", Integer, primary_key=True, autoincrement=False),
        Column("idx", BigInteger, primary_key=True, autoincrement=False),
        Column("hash", LargeBinary, nullable=False),
    ],
)
"""Hashes of full tiles, by tile level (1: 256 entries)."""

TREE = table(
    METADATA,
    "tree",
    [
        Column("one", Boolean, primary_key=True),
        Column("size", BigInteger, nullable=False),
        Column("frontier", LargeBinary, nullable=False),
    ],
)
"""One row: the tree's size and its frontier."""

CHECKPOINTS = table(
    METADATA,
    "checkpoints",
    [
        Column("origin", Text, primary_key=True),
        Column("size", BigInteger, primary_key=True, autoincrement=False),
        Column("root", LargeBinary, nullable=False),
        Column("note", LargeBinary, nullable=False),
        Column("signed_at", MOMENT, nullable=False),
    ],
)

SIGNATURES = table(
    METADATA,
    "signatures",
    [
        Column("origin", Text, primary_key=True),
        Column("size", BigInteger, primary_key=True, autoincrement=False),
        Column("name", Text, primary_key=True),
        Column("key_id", LargeBinary, primary_key=True),
        Column("line", Text, nullable=False),
        Column("added_at", MOMENT, nullable=False),
    ],
)
"""Added to a checkpoint after it was stored: by witnesses, by a new key."""
