"""Statements about answer links."""

from services.partners.tables.withdrawals import WITHDRAWN

INSERT = """
INSERT INTO answer_links
  (token_digest, referral_id, partner_id, person_id, endpoint_id, created_at, expires_at)
SELECT * FROM unnest($1::bytea[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[],
                     $6::timestamptz[], $7::timestamptz[])
"""
LINK = f"""
SELECT l.token_digest, l.referral_id, l.partner_id, l.person_id, l.endpoint_id, l.expires_at,
  l.opened_at, e.url, coalesce(r.asked_status, r.status) AS status, r.appointment_at,
  d.message, d.event_id, d.event_type, d.data, d.sealed, d.agreed_until,
{WITHDRAWN}
FROM answer_links l
JOIN endpoints e ON e.endpoint_id = l.endpoint_id AND EXISTS (
  SELECT FROM endpoints still  -- the same mailbox may have been registered again
  WHERE still.partner_id = e.partner_id AND still.url = e.url AND still.state = 'active'
)
JOIN referral_states r ON r.referral_id = l.referral_id
JOIN LATERAL (
  SELECT * FROM deliveries
  WHERE referral_id = l.referral_id AND partner_id = l.partner_id
    AND message = 'referral.requested'
  ORDER BY seq LIMIT 1
) d ON true
WHERE l.token_digest = $1 AND NOT EXISTS (
  SELECT FROM limits x WHERE x.person_id = l.person_id AND x.kind = 'restricted')
"""
OPEN = """
UPDATE answer_links SET opened_at = $2 WHERE token_digest = $1 AND opened_at IS NULL
RETURNING referral_id, partner_id, person_id
"""
ANSWERED = """
SELECT EXISTS (
  SELECT FROM answers WHERE person_id = $1 AND referral_id = $2 AND partner_id = $3
)
"""
RENEW = """
UPDATE answer_links SET renewed_at = $2
WHERE token_digest = $1 AND expires_at <= $2 AND (renewed_at IS NULL OR renewed_at <= $3)
RETURNING referral_id
"""
