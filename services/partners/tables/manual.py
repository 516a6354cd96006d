"""Statements about messages that advisers hand over."""

from services.partners.tables.channels import WANTED
from services.partners.tables.withdrawals import WITHDRAWN

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
