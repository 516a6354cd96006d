"""Statements about messages that advisers hand over."""

from services.partners.tables.channels import RESTRICTED, WANTED
from services.partners.tables.withdrawals import WITHDRAWN

WAITING = f"""
SELECT d.delivery_id, d.partner_id, p.kind, coalesce(p.name, d.partner_id) AS partner,
       d.service_id, s.name AS service, d.referral_id, r.status AS referral_status, d.message,
       coalesce((d.data::json ->> 'urgent')::boolean, false) AS urgent,
       coalesce((d.data::json ->> 'do_not_contact')::boolean, false) AS do_not_contact,
       d.agreed_until, d.last_error AS error, d.created_at, calls.count AS calls,
       calls.last_at AS last_call_at
FROM deliveries d
LEFT JOIN partners p USING (partner_id)
LEFT JOIN services s USING (service_id)
LEFT JOIN referral_states r USING (referral_id)
CROSS JOIN LATERAL (
  SELECT count(*) AS count, max(a.sent_at) AS last_at FROM delivery_attempts a
  WHERE a.delivery_id = d.delivery_id AND a.endpoint_id IS NULL
) calls
WHERE d.state = 'manual' AND ($1::text IS NULL OR d.partner_id = $1) AND NOT {RESTRICTED}
ORDER BY urgent DESC, d.seq LIMIT 500
"""
DONE = """
SELECT d.delivery_id, d.partner_id, p.kind, coalesce(p.name, d.partner_id) AS partner,
       d.service_id, d.referral_id, d.message, a.sent_at AS handed_over_at
FROM delivery_attempts a
JOIN deliveries d USING (delivery_id)
LEFT JOIN partners p USING (partner_id)
WHERE a.endpoint_id IS NULL AND a.outcome = 'ok' AND a.sent_at >= $2
  AND ($1::text IS NULL OR d.partner_id = $1)
ORDER BY a.sent_at LIMIT 500
"""
SHEET = f"""
SELECT d.delivery_id, d.partner_id, d.service_id, d.referral_id, d.person_id, d.message,
  d.event_id, d.event_type, d.occurred_at, d.data, d.sealed, d.partner_reference,
  d.agreed_until, d.attempts, d.state, d.disclosed, d.traceparent,
  p.kind, p.name AS partner, p.structure::text AS structure,
  s.name AS service, (s.published -> 'service')::text AS published,
  coalesce(r.asked_status, r.status) AS status, r.appointment_at, {WANTED} AS wanted,
{WITHDRAWN}
FROM deliveries d
LEFT JOIN partners p ON p.partner_id = d.partner_id
LEFT JOIN services s ON s.service_id = d.service_id
LEFT JOIN referral_states r ON r.referral_id = d.referral_id
WHERE d.delivery_id = $1
"""
LOCKED_SHEET = f"{SHEET} FOR UPDATE OF d"
HANDED_OVER = """
UPDATE deliveries
SET state = 'succeeded', attempts = attempts + 1, disclosed = true, last_error = NULL,
    updated_at = $2
WHERE delivery_id = $1
"""
NOBODY_REACHED = """
UPDATE deliveries SET attempts = attempts + 1, in_vain = in_vain + 1, updated_at = $2
WHERE delivery_id = $1
"""
"""Why it is left to a human stays what it was."""
CALL = """
INSERT INTO delivery_attempts (delivery_id, attempt, sent_at, outcome, error, duration_ms)
VALUES ($1, $2, $3, $4, $5, 0)
"""
