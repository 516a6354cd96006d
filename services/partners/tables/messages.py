"""Statements for what a partner sees of its own messages."""

from services.partners.tables.channels import FOR_API, WANTED
from services.partners.tables.withdrawals import WITHDRAWN

KEPT_THERE = """
d.message IN ('appointment.changed', 'appointment.cancelled') AND EXISTS (
  SELECT FROM endpoints e WHERE e.endpoint_id = d.endpoint_id AND e.keeps_appointments)
"""
"""Whether a delivery ``d`` is for the system that keeps the appointment: no other reading of
it would tell that system."""
MESSAGES = f"""
SELECT d.seq, d.delivery_id, d.partner_id, d.service_id, d.referral_id, d.person_id, d.message,
  d.event_id, d.event_type, d.occurred_at, d.data, d.sealed, d.partner_reference,
  d.agreed_until, d.attempts,
  d.state, d.disclosed, {WANTED} AS timely,
{WITHDRAWN}
FROM deliveries d LEFT JOIN referral_states r USING (referral_id)
WHERE d.partner_id = $1 AND d.seq > $2 AND d.state NOT IN ('cancelled', 'held')
  AND NOT ({FOR_API})
  AND NOT ({KEPT_THERE})
ORDER BY d.seq LIMIT $3 FOR UPDATE OF d
"""
TOLD = "UPDATE deliveries SET disclosed = true WHERE delivery_id = ANY($1::uuid[])"
"""What a message says has been given out; its delivery goes on as it was."""
ACKNOWLEDGE = """
UPDATE deliveries SET state = 'succeeded', next_attempt_at = NULL, lease = NULL,
  attempts = attempts + 1, last_error = NULL, updated_at = $3
WHERE partner_id = $1 AND delivery_id = ANY($2::uuid[]) AND disclosed
  AND state IN ('pending', 'dead', 'manual')
RETURNING delivery_id, referral_id, partner_id, person_id, message, attempts
"""
