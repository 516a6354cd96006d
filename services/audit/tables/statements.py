"""SQL on the audit service's tables: sets, locks, hot reads, and what subscriptions do."""

from sqlalchemy import JSON
from sqlalchemy.dialects import postgresql

from contracts.referrals import CaseOpened, ReferralProposed
from services.audit.tables.schema import ENTRIES

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
_ENTRY_NAMES = ", ".join(ENTRIES.c.keys())
_ENTRY_VALUES = ", ".join(
    f"{c.name}::json" if isinstance(c.type, JSON) else c.name for c in ENTRIES.c
)
_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]
_ENTRY_ARRAYS = ", ".join(
    f"${n}::{'TEXT' if isinstance(c.type, JSON) else c.type.compile(_POSTGRESQL)}[]"
    for n, c in enumerate(ENTRIES.c, 1)
)
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
PAYLOAD_SIZE = (
    "SELECT count(*) AS count, coalesce(sum(octet_length(data::text) + "
    "coalesce(octet_length(sealed), 0)), 0)::bigint AS bytes "
    "FROM entries WHERE idx >= $1 AND idx < $2"
)
PAYLOAD = (
    "SELECT salt, sealed_salt, header, data::text, sealed FROM entries "
    "WHERE idx >= $1 AND idx < $2 ORDER BY idx"
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
RECEIPTS = "SELECT person_id FROM events WHERE stream = ANY($1::text[]) AND type = $2"
LEAVES_OF_TILE = "SELECT leaf_hash FROM entries WHERE idx >= $1 AND idx < $2 ORDER BY idx"
BUNDLE_OF_TILE = "SELECT entry FROM entries WHERE idx >= $1 AND idx < $2 ORDER BY idx"
NODES_OF_TILE = (
    "SELECT hash FROM nodes WHERE idx >= $1 AND idx < $2 AND level = $3 ORDER BY idx"
)
