"""Statements about links that are mailed."""

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


def _renew(table: str) -> str:
    """Return the statement that notes a link that ran out as renewed, once in a while."""
    return f"""
UPDATE {table} SET renewed_at = $2
WHERE token_digest = $1 AND expires_at <= $2 AND (renewed_at IS NULL OR renewed_at <= $3)
RETURNING token_digest
"""


RENEW, RENEW_CAPACITY = _renew("answer_links"), _renew("capacity_links")
_MAILBOX = """
LEFT JOIN partners p ON p.partner_id = s.partner_id
LEFT JOIN LATERAL (
  SELECT substr(e.url, length('mailto:') + 1) AS mailbox FROM endpoints e
  WHERE e.partner_id = s.partner_id AND starts_with(e.url, 'mailto:') AND e.state = 'active'
    AND (e.service_ids = '{}' OR s.service_id = ANY(e.service_ids))
  ORDER BY e.rank, e.created_at DESC LIMIT 1
) registered ON true
"""
_KNOWN_MAILBOX = """
coalesce(registered.mailbox, s.published -> 'service' ->> 'courriel',
         p.structure ->> 'courriel')
"""
"""The mailbox that the partner registered, else that of the directory."""
CAPACITY_MAILBOX = f"""
SELECT s.service_id, s.partner_id, s.name AS service, {_KNOWN_MAILBOX} AS mailbox
FROM services s {_MAILBOX}
WHERE s.service_id = $1 AND NOT s.withdrawn
"""
CAPACITY_MAILED = """
SELECT max(created_at) FILTER (WHERE service_id = $1) AS of_service,
       count(*) AS of_mailbox, min(created_at) AS first
FROM capacity_links WHERE mailbox = $2 AND created_at > $3
"""
DROP_CAPACITY = "DELETE FROM capacity_links WHERE token_digest = $1"
INSERT_CAPACITY = """
WITH old AS (DELETE FROM capacity_links WHERE expires_at < $5::timestamptz - interval '90 days')
INSERT INTO capacity_links
  (token_digest, service_id, partner_id, mailbox, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6)
"""
CAPACITY_LINK = f"""
SELECT l.token_digest, l.service_id, l.partner_id, l.mailbox, l.expires_at,
  {_KNOWN_MAILBOX} AS now_mailbox, s.name AS service, s.capacity, s.capacity_until,
  s.capacity_at
FROM capacity_links l
JOIN services s ON s.service_id = l.service_id AND NOT s.withdrawn {_MAILBOX}
WHERE l.token_digest = $1
"""
