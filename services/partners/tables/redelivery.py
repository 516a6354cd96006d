"""Statements about messages sent again."""

from services.partners.tables.channels import RESTRICTED, WANTED

_REDELIVERABLE = f"""
FROM deliveries d
LEFT JOIN referral_states r USING (referral_id)
LEFT JOIN endpoints was ON was.endpoint_id = d.endpoint_id
CROSS JOIN LATERAL (
  SELECT e.endpoint_id FROM endpoints e
  WHERE e.partner_id = d.partner_id AND e.state = 'active'
    AND (e.service_ids = '{{}}' OR d.service_id = ANY(e.service_ids))
    AND (d.message = 'referral.requested'
         OR e.keeps_appointments = coalesce(was.keeps_appointments, false))
  ORDER BY e.rank, e.created_at DESC, e.endpoint_id LIMIT 1
) now
WHERE d.state = ANY($1::text[])
  AND ($2::boolean OR d.state <> 'manual' OR d.last_error <> 'no-endpoint')
  AND ($3::uuid IS NULL OR d.delivery_id = $3)
  AND ($4::text IS NULL OR d.partner_id = $4)
  AND ($5::uuid IS NULL OR d.endpoint_id = $5 OR now.endpoint_id = $5)
  AND ($6::timestamptz IS NULL OR d.created_at >= $6)
  AND ($7::text IS NULL OR d.last_error = $7)
  AND ($8::text IS NULL OR d.message = $8)
  AND {WANTED} AND NOT {RESTRICTED}
"""
"""A request or a reminder only while its referral is open; what ends one whenever."""
STATE = "SELECT state FROM deliveries WHERE delivery_id = $1"
COUNT_REDELIVERABLE = f"SELECT count(*) {_REDELIVERABLE}"
REDELIVER = f"""
WITH chosen AS (
  SELECT d.delivery_id, d.disclosed, now.endpoint_id {_REDELIVERABLE}
  ORDER BY d.seq LIMIT $10 FOR UPDATE OF d
)
UPDATE deliveries d
SET state = 'pending', endpoint_id = c.endpoint_id, next_attempt_at = $9, lease = NULL,
    tries_before = d.attempts, disclosed = true, updated_at = $9
FROM chosen c WHERE d.delivery_id = c.delivery_id
RETURNING d.delivery_id, d.referral_id, d.partner_id, d.person_id, d.message, d.event_id,
  d.event_type, d.data, d.sealed, c.disclosed
"""
"""``disclosed``: whether what the message discloses was written down before."""
