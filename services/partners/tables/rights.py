"""Statements about persons who are restricted or erased."""

from services.partners.tables.channels import ABOUT_PERSON, MAY_HAVE_IT

HOLD = f"""
UPDATE deliveries SET state = 'held', lease = NULL, last_error = 'person-restricted',
  updated_at = $2
WHERE person_id = $1 AND state = 'pending'
  AND message IN {ABOUT_PERSON}
"""
"""What goes by hand stays on the list of the day: its sheet does not open meanwhile."""
RELEASE = """
WITH found AS (
  SELECT delivery_id, disclosed FROM deliveries WHERE person_id = $1 AND state = 'held'
  FOR UPDATE
)
UPDATE deliveries d
SET state = 'pending', last_error = NULL, next_attempt_at = $2, updated_at = $2,
    disclosed = d.disclosed OR d.message = 'referral.requested'
FROM found f WHERE d.delivery_id = f.delivery_id
RETURNING d.message, d.person_id, d.event_id, d.event_type, d.data, d.sealed, f.disclosed
"""
"""``disclosed``: whether what the message discloses was written down before."""

STRIP_DELIVERIES = """
UPDATE deliveries
SET sealed = NULL, partner_reference = NULL, external_id = NULL, updated_at = $2
WHERE person_id = ANY($1::uuid[])
"""
"""What messages were made from goes; that there were messages stays, under a pseudonym."""
DROP_DELIVERIES = f"""
UPDATE deliveries SET state = 'cancelled', last_error = 'person-erased', lease = NULL
WHERE person_id = ANY($1::uuid[]) AND state IN ('pending', 'manual', 'dead', 'held')
  AND message IN {ABOUT_PERSON}
"""
"""Not those that say nothing of the person: one may be on its way at this moment."""
FORGET = (
    DROP_DELIVERIES,
    "DELETE FROM answer_links WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM answers WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM withdrawals WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM referral_states WHERE person_id = ANY($1::uuid[])",
)
TOLD = f"""
SELECT DISTINCT d.referral_id, d.partner_id, d.service_id, d.person_id,
  NULL::bytea AS partner_reference
FROM deliveries d
WHERE d.person_id = ANY($1::uuid[]) AND {MAY_HAVE_IT} AND d.message = 'referral.requested'
ORDER BY d.person_id, d.referral_id
"""
"""Requests that a partner got, or may have got."""
