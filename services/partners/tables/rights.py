"""Statements about persons who are restricted or erased."""

HOLD = """
UPDATE deliveries SET state = 'held', lease = NULL, last_error = 'person-restricted',
  updated_at = $2
WHERE person_id = $1 AND state IN ('pending', 'manual')
  AND message IN ('referral.requested', 'referral.reminded', 'appointment.changed')
"""
RELEASE = """
UPDATE deliveries SET last_error = NULL, updated_at = $2::timestamptz,
  state = CASE WHEN endpoint_id IS NULL THEN 'manual' ELSE 'pending' END,
  next_attempt_at = CASE WHEN endpoint_id IS NULL THEN NULL ELSE $2::timestamptz END
WHERE person_id = $1 AND state = 'held'
"""

STRIP_DELIVERIES = """
UPDATE deliveries SET sealed = NULL, external_id = NULL, updated_at = $2
WHERE person_id = ANY($1::uuid[])
"""
"""What messages were made from goes; that there were messages stays, under a pseudonym."""
DROP_DELIVERIES = """
UPDATE deliveries SET state = 'cancelled', last_error = 'person-erased', lease = NULL
WHERE person_id = ANY($1::uuid[]) AND state IN ('pending', 'manual', 'dead', 'held')
  AND message IN ('referral.requested', 'referral.reminded', 'appointment.changed')
"""
"""Not those that say nothing of the person: one may be on its way at this moment."""
FORGET = (
    DROP_DELIVERIES,
    "DELETE FROM answer_links WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM answers WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM withdrawals WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM referral_states WHERE person_id = ANY($1::uuid[])",
)
TOLD = """
SELECT DISTINCT referral_id, partner_id, service_id, person_id
FROM deliveries
WHERE person_id = ANY($1::uuid[]) AND attempts > 0 AND message = 'referral.requested'
ORDER BY person_id, referral_id
"""
"""Requests that a partner got, or may have got."""
