"""Statements about the directory: what is known, what is withdrawn, names by date."""

KNOWN_PARTNERS = "SELECT partner_id, kind, name, structure::text FROM partners"
KNOWN_SERVICES = """
SELECT service_id, partner_id, published::text FROM services
WHERE NOT withdrawn AND published -> 'service' ->> 'source' = $1
"""
EXPORTED_SERVICES = """
SELECT published::text FROM services WHERE NOT withdrawn ORDER BY service_id
"""
WITHDRAW_SERVICES = "UPDATE services SET withdrawn = true WHERE service_id = ANY($1::text[])"
KEEP_NAMES = """
INSERT INTO partner_names (partner_id, since, name)
SELECT * FROM unnest($1::text[], $2::date[], $3::text[])
ON CONFLICT (partner_id, since) DO UPDATE SET name = excluded.name
"""
NAMES = "SELECT since, name FROM partner_names WHERE partner_id = $1 ORDER BY since"
NAME_ON = """
SELECT coalesce(
  (SELECT name FROM partner_names WHERE partner_id = $1 AND since <= $2
   ORDER BY since DESC LIMIT 1),
  (SELECT name FROM partners WHERE partner_id = $1)
)
"""
PARTNER = "SELECT name, structure::text FROM partners WHERE partner_id = $1"
