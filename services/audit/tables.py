"""The statements on the audit service's tables, and rows as values."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.referrals import CaseOpened, ReferralProposed
from infra.eventstore.events import StoredEvent
from infra.postgres.transaction import Transaction, columns
from infra.tlog.growth import TileHash
from infra.tlog.merkle import Frontier
from infra.tlog.note import Signature
from infra.tlog.tiles import ENTRIES, TILE_WIDTH, Tile

LOCK_CLASS = 4712
SEQUENCER, SIGNER = 1, 2
"""Advisory transaction locks: who gives out the next index, who signs the next checkpoint."""

LOCK = "SELECT pg_advisory_xact_lock($1, $2)"
KNOWN = "SELECT event_id FROM entries WHERE event_id = ANY($1)"
VERSIONS = (
    "SELECT service, stream, version FROM streams "
    "JOIN unnest($1::text[], $2::text[]) AS wanted (service, stream) USING (service, stream)"
)
SET_VERSIONS = (
    "INSERT INTO streams (service, stream, version) "
    "SELECT * FROM unnest($1::text[], $2::text[], $3::int[]) "
    "ON CONFLICT (service, stream) DO UPDATE SET version = excluded.version"
)
FRONTIER = "SELECT frontier FROM tree"
SET_TREE = "UPDATE tree SET size = $1, frontier = $2"
ADD_NODES = (
    "INSERT INTO nodes (level, idx, hash) "
    "SELECT * FROM unnest($1::int[], $2::bigint[], $3::bytea[])"
)
_ENTRY_COLUMNS = (
    ("idx", "bigint"), ("event_id", "uuid"), ("service", "text"), ("position", "bigint"),
    ("stream", "text"), ("version", "int"), ("type", "text"), ("person_id", "uuid"),
    ("occurred_at", "timestamptz"), ("recorded_at", "timestamptz"), ("actor", "text"),
    ("header", "bytea"), ("data", "text"), ("sealed", "bytea"), ("salt", "bytea"),
    ("sealed_salt", "bytea"), ("meta", "text"), ("entry", "bytea"), ("leaf_hash", "bytea"),
)  # fmt: skip
_ENTRY_NAMES = ", ".join(name for name, _ in _ENTRY_COLUMNS)
_ENTRY_VALUES = ", ".join(
    f"{name}::json" if name in ("data", "meta") else name for name, _ in _ENTRY_COLUMNS
)
_ENTRY_ARRAYS = ", ".join(f"${n}::{kind}[]" for n, (_, kind) in enumerate(_ENTRY_COLUMNS, 1))
ADD_ENTRIES = (
    f"INSERT INTO entries ({_ENTRY_NAMES}) SELECT {_ENTRY_VALUES} "
    f"FROM unnest({_ENTRY_ARRAYS}) AS new ({_ENTRY_NAMES})"
)
_SIGNED = (
    "SELECT c.size, c.root, c.note || coalesce((SELECT string_agg(convert_to(s.line, 'UTF8'), "
    "''::bytea ORDER BY s.added_at, s.name, s.key_id) FROM signatures s "
    "WHERE s.origin = c.origin AND s.size = c.size), ''::bytea) AS note FROM checkpoints c"
)
"""A checkpoint as it is handed out: its note, and the signatures that were added since."""
LAST_CHECKPOINT = f"{_SIGNED} WHERE c.origin = $1 ORDER BY c.size DESC LIMIT 1"
ADD_CHECKPOINT = (
    "INSERT INTO checkpoints (origin, size, root, note, signed_at) VALUES ($1, $2, $3, $4, $5)"
)
CHECKPOINTS = (
    "SELECT size, note FROM (SELECT size, note, row_number() OVER (ORDER BY size) AS n, "
    f"sum(octet_length(note)) OVER (ORDER BY size) AS bytes FROM ({_SIGNED} WHERE c.size > $1 "
    "AND c.size <= $2 AND c.origin = $4 ORDER BY c.size LIMIT $3) AS listed) AS page "
    "WHERE bytes <= $5 OR n = 1 ORDER BY size"
)
"""As many as asked for, or as few as fit into so many bytes; one in any case."""
COSIGNED = (
    f"{_SIGNED} WHERE c.size > $1 AND c.origin = $2 AND EXISTS (SELECT FROM signatures x "
    "WHERE x.origin = c.origin AND x.size = c.size) ORDER BY c.size DESC LIMIT $3"
)
"""The newest that somebody added a signature to, of more than so many entries."""
ADD_SIGNATURE = (
    "INSERT INTO signatures (origin, size, name, key_id, line, added_at) "
    "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
)
SIGNED_BY = "SELECT max(size) FROM signatures WHERE origin = $1 AND name = $2 AND key_id = $3"
_OPENING = "salt, sealed_salt, header, data::text AS data, sealed"
READ_ENTRIES = (
    f"SELECT idx, position, entry, leaf_hash, {_OPENING} FROM (SELECT *, sum(octet_length("
    "data::text) + coalesce(octet_length(sealed), 0)) OVER (ORDER BY idx) AS bytes "
    "FROM entries WHERE idx >= $1 ORDER BY idx LIMIT $2) AS page "
    "WHERE bytes <= $3 OR idx = $1 ORDER BY idx"
)
"""As many entries as asked for, or as few as fit into so many bytes; one in any case."""
_LOGGED = "SELECT idx, entry, header, data::text, sealed IS NOT NULL FROM entries WHERE"
LOG_PAGE = f"{_LOGGED} idx >= $1 AND idx < $2 ORDER BY idx LIMIT $3"
PERSON_PAGE = (
    f"{_LOGGED} idx >= $1 AND idx < $2 AND person_id = ANY($4::uuid[]) ORDER BY idx LIMIT $3"
)
MERGES = f"{_LOGGED} idx < $1 AND type = ANY($2) ORDER BY idx"
PERSON_OF = {
    "person": "SELECT person_id FROM entries WHERE person_id = $1::uuid LIMIT 1",
    "case": (
        "SELECT person_id FROM entries WHERE data->>'case_id' = $1::text "
        f"AND type = '{CaseOpened.type}' ORDER BY idx LIMIT 1"
    ),
    "referral": (
        "SELECT person_id FROM entries WHERE data->>'referral_id' = $1::text "
        f"AND type = '{ReferralProposed.type}' ORDER BY idx LIMIT 1"
    ),
}
SEALED = (
    "SELECT idx, event_id, type, person_id, sealed FROM entries "
    "WHERE idx = ANY($1::bigint[]) AND sealed IS NOT NULL"
)
SPAN = (
    "SELECT min(idx) AS start, max(idx) + 1 AS stop FROM entries WHERE idx < $1 "
    "AND recorded_at >= $2 AND recorded_at <= $3"
)
PAYLOAD_SIZE = (
    "SELECT count(*) AS count, coalesce(sum(octet_length(data::text) + "
    "coalesce(octet_length(sealed), 0)), 0)::bigint AS bytes "
    "FROM entries WHERE idx >= $1 AND idx < $2"
)
PAYLOAD = f"SELECT {_OPENING} FROM entries WHERE idx >= $1 AND idx < $2 ORDER BY idx"
PARTNERS_NAMED = (
    "SELECT data::text AS data FROM entries "
    "WHERE type = 'fr.aiguillage.partners.partner.registered.v1' ORDER BY idx"
)
INDEX_OF_EVENT = "SELECT idx FROM entries WHERE event_id = $1"
ENTRY_OF_EVENT = "SELECT idx, entry FROM entries WHERE event_id = $1"
LEAF_AT = "SELECT leaf_hash FROM entries WHERE idx = $1"
ERASED = (
    "SELECT event_id, idx, recorded_at, data::text AS data FROM entries WHERE person_id = $1 "
    "AND type = 'fr.aiguillage.audit.person.erased.v1' ORDER BY idx"
)
FORGET_ENTRIES = "SELECT forget_entries($1)"
PARKED = (
    "SELECT id, record FROM dead_letters "
    "WHERE key = ANY($1::text[]) AND subscription LIKE 'log-%' AND record <> ''"
)
SET_PARKED = "UPDATE dead_letters SET record = $2 WHERE id = $1"
DROP_PARKED = (
    "DELETE FROM dead_letters WHERE key = ANY($1::text[]) AND subscription NOT LIKE 'log-%'"
)
FORGOTTEN_BY_ALL = (
    "SELECT person_id FROM entries WHERE person_id = ANY($1::uuid[]) AND type = ANY($2) "
    "GROUP BY person_id HAVING count(DISTINCT type) = cardinality($2::text[])"
)
RECEIPTS = (
    "SELECT person_id, event_id, recorded_at FROM events "
    "WHERE stream = ANY($1::text[]) AND type = $2"
)
_LEAVES = "SELECT leaf_hash AS value FROM entries WHERE idx >= $1 AND idx < $2 ORDER BY idx"
_BUNDLE = "SELECT entry AS value FROM entries WHERE idx >= $1 AND idx < $2 ORDER BY idx"
_NODES = (
    "SELECT hash AS value FROM nodes WHERE idx >= $1 AND idx < $2 AND level = $3 ORDER BY idx"
)


class LogDamagedError(Exception):
    """Rows of the log are missing: what is stored cannot be the tree that was signed."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """An event with the bytes and the hash under which it enters the log."""

    event: StoredEvent
    entry: bytes
    hash: bytes

    def stripped(self) -> "Leaf":
        """Without its sealed part; entry and hash are what they were."""
        return replace(self, event=self.event.stripped())

    def row(self, idx: int) -> tuple[Any, ...]:
        """The row of ``entries`` at this index."""
        e = self.event
        return (
            idx, e.event_id, e.service, e.position, e.stream, e.version, e.type, e.person_id,
            e.occurred_at, e.recorded_at, e.meta.actor, e.header(), e.data, e.sealed, e.salt,
            e.sealed_salt, e.meta.json(), self.entry, self.hash,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint that was signed."""

    size: int
    root: bytes
    note: bytes


async def known_events(tx: Transaction, event_ids: Sequence[UUID]) -> set[UUID]:
    """Which of these events are in the log."""
    return {row["event_id"] for row in await tx.fetch(KNOWN, event_ids)}


async def versions_of(
    tx: Transaction, streams: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], int]:
    """(service, stream) → version of its last event in the log; unknown streams are absent."""
    rows = await tx.fetch(VERSIONS, *columns(streams))
    return {(row["service"], row["stream"]): row["version"] for row in rows}


async def load_frontier(tx: Transaction) -> Frontier:
    """The tree as it stands."""
    return Frontier.load(await tx.fetchval(FRONTIER))


async def store_growth(
    tx: Transaction,
    first: int,
    leaves: Sequence[Leaf],
    grown: Frontier,
    made: Sequence[TileHash],
) -> None:
    """Store entries from index ``first``, the tile hashes they completed, and the tree."""
    rows = [leaf.row(idx) for idx, leaf in enumerate(leaves, first)]
    await tx.execute(ADD_ENTRIES, *columns(rows))
    if made:
        await tx.execute(ADD_NODES, *columns(made))
    await tx.execute(SET_TREE, grown.size, grown.dump())


async def store_versions(tx: Transaction, versions: dict[tuple[str, str], int]) -> None:
    """Remember the last version of these streams."""
    rows = [(*stream, version) for stream, version in versions.items()]
    await tx.execute(SET_VERSIONS, *columns(rows))


async def last_signed(tx: Transaction, origin: str) -> Signed | None:
    """The newest checkpoint of a log; None before the first."""
    row = await tx.fetchrow(LAST_CHECKPOINT, origin)
    return Signed(row["size"], row["root"], row["note"]) if row else None


async def store_checkpoint(
    tx: Transaction, origin: str, signed: Signed, signed_at: datetime
) -> None:
    """Keep a checkpoint for good."""
    await tx.execute(ADD_CHECKPOINT, origin, signed.size, signed.root, signed.note, signed_at)


async def store_signature(
    tx: Transaction, origin: str, size: int, signature: Signature, added_at: datetime
) -> None:
    """Keep a signature that came after a checkpoint was stored; each key's first one."""
    await tx.execute(
        ADD_SIGNATURE, origin, size, signature.name, signature.key_id, signature.line(),
        added_at,
    )  # fmt: skip


async def tile_contents(tx: Transaction, tile: Tile) -> list[bytes]:
    """The hashes of a tile, or the entries of a bundle.

    Raises ``LogDamagedError`` if there are fewer than the tile is wide.
    """
    start = tile.index * TILE_WIDTH
    span = (start, start + tile.width)
    if tile.level == ENTRIES:
        rows = await tx.fetch(_BUNDLE, *span)
    elif tile.level == 0:
        rows = await tx.fetch(_LEAVES, *span)
    else:
        rows = await tx.fetch(_NODES, *span, tile.level)
    if len(rows) != tile.width:
        raise LogDamagedError(f"{tile.path} holds {len(rows)} of {tile.width}")
    return [row["value"] for row in rows]
