"""Statements about the directory: what is known, what is withdrawn, names by date."""

ONE_IMPORT = "SELECT pg_advisory_xact_lock(4713, 0)"
"""Two imports at once would wait for each other's rows for ever."""
KNOWN_PARTNERS = """
SELECT partner_id, kind, structure ->> 'source' AS source FROM partners
WHERE partner_id = ANY($1::text[])
"""
KNOWN_SERVICES = """
SELECT service_id, published -> 'service' ->> 'source' AS source, published::text
FROM services
WHERE service_id = ANY($1::text[])
"""
LISTED_SERVICES = """
SELECT service_id, partner_id FROM services
WHERE NOT withdrawn AND published -> 'service' ->> 'source' = $1
"""
"""What a source listed until now."""
EXPORTED_PARTNERS = """
SELECT structure::text AS structure FROM partners
WHERE $1::text IS NULL OR structure ->> 'source' = $1 ORDER BY partner_id
"""
EXPORTED_SERVICES = """
SELECT published::text AS published, capacity, seats, capacity_until, capacity_at FROM services
WHERE NOT withdrawn AND ($1::text IS NULL OR published -> 'service' ->> 'source' = $1)
ORDER BY service_id
"""
WITHDRAW_SERVICES = "UPDATE services SET withdrawn = true WHERE service_id = ANY($1::text[])"
KEEP_NAMES = """
INSERT INTO partner_names (partner_id, since, name)
SELECT * FROM unnest($1::text[], $2::date[], $3::text[])
ON CONFLICT (partner_id, since) DO UPDATE SET name = excluded.name
"""
CALLED = """
SELECT p.partner_id, p.name, p.structure ->> 'date_maj' AS date_maj,
       (SELECT max(since) FROM partner_names n WHERE n.partner_id = p.partner_id) AS since
FROM partners p WHERE p.partner_id = ANY($1::text[])
"""
NAME_ON = """
SELECT coalesce(
  (SELECT name FROM partner_names WHERE partner_id = $1 AND since <= $2
   ORDER BY since DESC LIMIT 1),
  (SELECT name FROM partner_names WHERE partner_id = $1 ORDER BY since LIMIT 1),
  (SELECT name FROM partners WHERE partner_id = $1)
)
"""
"""Before the first day that is known, the first name that is known."""
PARTNER = "SELECT name, structure::text FROM partners WHERE partner_id = $1"
