"""Statements about appointments: those that a partner keeps in its own system
(``keeps_appointments``), and changes that others are notified of."""

from services.partners.tables.channels import MAY_HAVE_IT

REQUESTS = """
SELECT d.referral_id, d.event_id, d.event_type, d.data, d.sealed, d.external_id,
       d.external_id IS NOT NULL AS made
FROM deliveries d
WHERE d.referral_id = ANY($1::uuid[]) AND d.message = 'referral.requested'
"""
"""The request that each message is about, and whether it made an appointment."""
APPOINTED = f"""
SELECT d.referral_id, d.partner_id, d.service_id, d.person_id, d.agreement_id, d.agreed_until,
  r.partner_reference,
  coalesce(e.keeps_appointments
           AND (d.external_id IS NOT NULL OR d.state IN ('pending', 'held')), false) AS by_api
FROM deliveries d
LEFT JOIN endpoints e USING (endpoint_id)
LEFT JOIN referral_states r ON r.referral_id = d.referral_id
WHERE d.referral_id = ANY($1::uuid[]) AND d.message = 'referral.requested'
  AND d.state <> 'manual' AND ({MAY_HAVE_IT} OR d.state IN ('pending', 'held'))
"""
"""Requests that a partner has, may have, or is about to get, with the appointment of then; what
waits for an adviser is shown as it is by now. ``by_api``: it is kept, or about to be, there."""
SUPERSEDE = """
UPDATE deliveries d SET state = 'cancelled', lease = NULL, updated_at = $2
WHERE d.referral_id = ANY($1::uuid[])
  AND d.message IN ('appointment.changed', 'appointment.cancelled')
  AND d.state IN ('pending', 'manual', 'held') AND d.lease IS NULL
  AND NOT EXISTS (SELECT FROM endpoints e
                  WHERE e.endpoint_id = d.endpoint_id AND e.keeps_appointments)
"""
"""What was not told of an appointment before, by whom only the last word is wanted."""
OFFERS = """
SELECT e.endpoint_id FROM endpoints e JOIN partners p USING (partner_id)
WHERE e.channel = $1 AND e.state = 'active' AND p.kind = 'france-travail'
ORDER BY e.rank, e.created_at DESC, e.endpoint_id LIMIT 1
"""
"""Whose credentials offers are searched with."""
