"""Statements about appointments that a partner keeps in its own system (channel ``rest``)."""

REQUESTS = """
SELECT d.referral_id, d.event_id, d.event_type, d.data, d.sealed, d.external_id,
       d.external_id IS NOT NULL AS made
FROM deliveries d
WHERE d.referral_id = ANY($1::uuid[]) AND d.message = 'referral.requested'
"""
"""The request that each message is about, and whether it made an appointment."""
APPOINTED = """
SELECT d.referral_id, d.partner_id, d.service_id, d.person_id, d.agreement_id, d.agreed_until,
  NULL::bytea AS partner_reference
FROM deliveries d JOIN endpoints e USING (endpoint_id)
WHERE d.referral_id = ANY($1::uuid[]) AND d.message = 'referral.requested'
  AND e.channel = 'rest' AND (d.external_id IS NOT NULL OR d.state IN ('pending', 'held'))
"""
"""Requests that made an appointment by API, or are about to."""
OFFERS = """
SELECT e.endpoint_id FROM endpoints e JOIN partners p USING (partner_id)
WHERE e.channel = 'rest' AND e.state = 'active' AND p.kind = 'france-travail'
ORDER BY e.rank, e.created_at DESC, e.endpoint_id LIMIT 1
"""
"""Whose credentials offers are searched with."""
