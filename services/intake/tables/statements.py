"""SQL texts on persons, what came of them, refused records and duplicates: in sets.

Whoever takes locks takes them in this order, each kind sorted: persons, references, inbox.
So two processes may wait for each other's rows, but never in a circle.
"""

INBOX = "SELECT key, person_id, digest, created FROM inbox WHERE key = ANY($1)"
RECEIVE = """
INSERT INTO inbox (key, person_id, digest, created, received_at)
SELECT key, person_id, digest, created, $5
FROM unnest($1::bytea[], $2::uuid[], $3::bytea[], $4::bytea[])
  AS new (key, person_id, digest, created)
ON CONFLICT DO NOTHING RETURNING 1
"""
REFS = "SELECT ref, person_id FROM person_refs WHERE ref = ANY($1)"
ADD_REFS = """
INSERT INTO person_refs (ref, person_id)
SELECT ref, person_id FROM unnest($1::bytea[], $2::uuid[]) AS new (ref, person_id)
ON CONFLICT DO NOTHING RETURNING 1
"""
LOCK_PERSONS = (
    "SELECT person_id FROM persons WHERE person_id = ANY($1) ORDER BY person_id FOR UPDATE"
)
ADD_PERSONS = (
    "INSERT INTO persons (person_id, registered_at) SELECT person_id, $2 "
    "FROM unnest($1::uuid[]) AS new (person_id)"
)
AGREEMENTS = (
    "SELECT person_id, data->>'agreement_id' AS agreement_id FROM events "
    "WHERE stream = ANY($1) AND type = $2"
)
ADD_SOURCES = """
INSERT INTO person_sources (person_id, source)
SELECT person_id, source FROM unnest($1::uuid[], $2::bytea[]) AS new (person_id, source)
ON CONFLICT DO NOTHING
"""
SOURCES = """
WITH RECURSIVE up AS (
  SELECT id AS wanted, id AS person_id FROM unnest($1::uuid[]) AS id
  UNION
  SELECT u.wanted, a.into_id FROM up u JOIN aliases a USING (person_id)
), same AS (
  SELECT wanted, person_id FROM up
  UNION
  SELECT s.wanted, a.person_id FROM same s JOIN aliases a ON a.into_id = s.person_id
)
SELECT DISTINCT s.wanted AS person_id, p.source
FROM same s JOIN person_sources p USING (person_id)
"""
"""Systems that may speak of persons: of a person with several ids, those of any of them."""
REFUSE = """
INSERT INTO refused_records
  (topic, partition, "offset", reason, fields, raw, sender, refused_at)
SELECT topic, partition, "offset", reason, string_to_array(fields, ' '), raw, sender, $8
FROM unnest($1::text[], $2::int[], $3::bigint[], $4::text[], $5::text[], $6::bytea[],
            $7::bytea[])
  AS new (topic, partition, "offset", reason, fields, raw, sender)
ON CONFLICT (topic, partition, "offset") DO UPDATE
SET reason = excluded.reason, fields = excluded.fields, raw = excluded.raw,
    sender = excluded.sender, refused_at = excluded.refused_at, attempts = 1
"""
"""A place may come again, when the topic was made again: the newer record is the one there."""
REFUSED = """
SELECT topic, partition, "offset", raw FROM refused_records
WHERE (topic, partition, "offset") > ($1, $2, $3)
ORDER BY topic, partition, "offset" LIMIT $4 FOR UPDATE
"""
ACCEPT_REFUSED = """
DELETE FROM refused_records USING unnest($1::text[], $2::int[], $3::bigint[])
  AS done (topic, partition, "offset")
WHERE refused_records.topic = done.topic AND refused_records.partition = done.partition
  AND refused_records."offset" = done."offset"
"""
REFUSE_AGAIN = """
UPDATE refused_records SET attempts = attempts + 1, reason = again.reason,
  fields = string_to_array(again.fields, ' ')
FROM unnest($1::text[], $2::int[], $3::bigint[], $4::text[], $5::text[])
  AS again (topic, partition, "offset", reason, fields)
WHERE refused_records.topic = again.topic AND refused_records.partition = again.partition
  AND refused_records."offset" = again."offset"
"""
FORGET_REFUSED = """
DELETE FROM refused_records WHERE (topic, partition, "offset") IN (
  SELECT topic, partition, "offset" FROM refused_records WHERE refused_at < $1
  ORDER BY topic, partition, "offset" LIMIT $2 FOR UPDATE)
RETURNING 1
"""
COUNT_REFUSED = "SELECT reason, count(*) FROM refused_records GROUP BY reason ORDER BY reason"
UNINDEX = "DELETE FROM person_index WHERE person_id = ANY($1::uuid[])"
INDEX = """
INSERT INTO person_index (person_id, kind, digest)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::bytea[])
"""
MATCHES = """
WITH mine AS (SELECT * FROM person_index WHERE person_id = ANY($1::uuid[])),
telling AS (
  SELECT i.kind, i.digest FROM person_index i
  JOIN (SELECT DISTINCT kind, digest FROM mine) m USING (kind, digest)
  GROUP BY i.kind, i.digest HAVING count(*) BETWEEN 2 AND $2
), pairs AS (
  SELECT a.person_id AS a, b.person_id AS b, a.kind
  FROM mine a JOIN telling USING (kind, digest) JOIN person_index b USING (kind, digest)
  WHERE a.person_id <> b.person_id
), ordered AS (
  SELECT DISTINCT kind,
         CASE WHEN (pa.registered_at, a) > (pb.registered_at, b) THEN a ELSE b END AS person_id,
         CASE WHEN (pa.registered_at, a) > (pb.registered_at, b) THEN b ELSE a END AS other_id
  FROM pairs JOIN persons pa ON pa.person_id = a JOIN persons pb ON pb.person_id = b
)
SELECT person_id, other_id, array_agg(kind ORDER BY kind) AS kinds
FROM ordered
WHERE NOT EXISTS (SELECT FROM aliases x WHERE x.person_id IN (ordered.person_id, other_id))
GROUP BY person_id, other_id ORDER BY person_id, other_id
"""
"""Persons who share a feature that few share: (the younger, the older). Who is already part of
another person is looked at through that one."""
SUSPECT = """
INSERT INTO suspicions (person_id, other_id, matched_on, status, since)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (person_id, other_id) DO UPDATE
SET status = 'merged', matched_on = excluded.matched_on
WHERE suspicions.status = 'open' AND excluded.status = 'merged'
RETURNING person_id
"""
SETTLE = """
UPDATE suspicions SET status = $3
WHERE (person_id, other_id) IN (($1::uuid, $2::uuid), ($2::uuid, $1::uuid))
RETURNING person_id, other_id
"""
ADD_ALIAS = (
    "INSERT INTO aliases (person_id, into_id) VALUES ($1, $2) ON CONFLICT DO NOTHING "
    "RETURNING person_id"
)
ARE_ONE = (
    "SELECT EXISTS (SELECT FROM aliases WHERE (person_id, into_id) "
    "IN (($1::uuid, $2::uuid), ($2::uuid, $1::uuid)))"
)
DROP_ALIAS = "DELETE FROM aliases WHERE person_id = $1 RETURNING into_id"
MEMBERS = """
WITH RECURSIVE up AS (
  SELECT id AS wanted, id AS person_id FROM unnest(ARRAY[$1, $2]::uuid[]) AS id
  UNION
  SELECT u.wanted, a.into_id FROM up u JOIN aliases a USING (person_id)
)
SELECT wanted, person_id AS root FROM up u
WHERE NOT EXISTS (SELECT FROM aliases a WHERE a.person_id = u.person_id)
"""
SAME_PERSON = """
WITH RECURSIVE up AS (
  SELECT $1::uuid AS person_id
  UNION
  SELECT a.into_id FROM up JOIN aliases a USING (person_id)
), same AS (
  SELECT person_id FROM up
  UNION
  SELECT a.person_id FROM same s JOIN aliases a ON a.into_id = s.person_id
)
SELECT person_id FROM same
"""
ANNOUNCED = (
    "SELECT person_id, type FROM events WHERE stream = ANY($1::text[]) AND type = ANY($2)"
)
FORGET = (
    "DELETE FROM person_refs WHERE person_id = ANY($1::uuid[])",
    "UPDATE inbox SET person_id = NULL, digest = NULL, created = NULL "
    "WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM person_sources WHERE person_id = ANY($1::uuid[])",
    UNINDEX,
    "DELETE FROM suspicions WHERE person_id = ANY($1::uuid[]) OR other_id = ANY($1::uuid[])",
    "DELETE FROM stays WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM open_work WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM aliases WHERE person_id = ANY($1::uuid[]) OR into_id = ANY($1::uuid[])",
)
"""``persons`` stays: the id alone says nothing, and its next use is refused as erased."""
