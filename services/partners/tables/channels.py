"""Statements that move a message from one channel to the partner's next, at last to a human."""

OPEN = "('requested', 'accepted', 'in-progress', 'on-hold')"
"""States of a referral in which its partner may still act."""
ABOUT_PERSON = """('referral.requested', 'referral.reminded', 'appointment.changed',
  'appointment.cancelled')"""
"""Messages that leave only while something may be done about their person."""
FOR_API = """
d.event_type IN ('fr.aiguillage.referrals.appointment.attended.v1',
                 'fr.aiguillage.referrals.appointment.missed.v1')
"""
"""Whether a delivery ``d`` is for a system that keeps appointments, and nothing to write in a
mail: who came."""
WANTED = f"""
(d.message IN ('referral.cancelled', 'agreement.withdrawn', 'person.erased')
 OR coalesce(r.asked_status, r.status) IN {OPEN})
"""
"""Whether a delivery ``d`` of a referral ``r`` still has something to say."""
RESTRICTED = f"""
(d.message IN {ABOUT_PERSON} AND EXISTS (
  SELECT FROM limits x WHERE x.person_id = d.person_id AND x.kind = 'restricted'))
"""
"""Whether a delivery ``d`` waits because nothing is done about its person (RGPD art. 18)."""
MAY_HAVE_IT = "d.attempts > d.in_vain"
"""Whether a delivery ``d`` has reached its partner, or may have."""
_FURTHER = """
SELECT d.delivery_id, d.service_id, d.message, e.channel AS from_channel, further.endpoint_id,
       further.channel AS to_channel
FROM deliveries d JOIN endpoints e USING (endpoint_id)
LEFT JOIN referral_states r ON r.referral_id = d.referral_id
LEFT JOIN LATERAL (
  SELECT n.endpoint_id, n.channel FROM endpoints n
  WHERE n.partner_id = d.partner_id AND n.state = 'active' AND n.rank > e.rank
    AND (n.service_ids = '{}' OR d.service_id = ANY(n.service_ids))
    AND (NOT n.keeps_appointments OR d.message = 'referral.requested')
  ORDER BY n.rank, n.created_at DESC, n.endpoint_id LIMIT 1
) further ON true
"""
_TAKEN_OVER = f"""
NOT ({FOR_API}) AND (further.endpoint_id IS NOT NULL OR {WANTED})
"""
"""Whether another takes a delivery ``d`` over."""
NEXT_CHANNELS = f"""
{_FURTHER}
WHERE d.delivery_id = ANY($1::uuid[]) AND {_TAKEN_OVER}
"""
"""Of what is wanted no more only the channels that are left by themselves."""
MOVE_ON = f"""
WITH found AS (
{_FURTHER}
  WHERE d.endpoint_id = ANY($1::uuid[]) AND d.state IN ('pending', 'held')
    AND {_TAKEN_OVER}
  FOR UPDATE OF d
)
UPDATE deliveries d
SET state = CASE WHEN f.endpoint_id IS NULL THEN 'manual' ELSE d.state END,
    next_attempt_at = CASE WHEN f.endpoint_id IS NOT NULL THEN $2::timestamptz END,
    endpoint_id = coalesce(f.endpoint_id, d.endpoint_id), tries_before = d.attempts,
    lease = NULL, last_error = 'endpoint-disabled', updated_at = $2
FROM found f WHERE d.delivery_id = f.delivery_id
RETURNING d.delivery_id, d.referral_id, d.partner_id, d.person_id, d.message, d.service_id,
  f.from_channel, f.to_channel
"""
BURY = """
UPDATE deliveries
SET state = 'dead', last_error = 'endpoint-disabled', lease = NULL, next_attempt_at = NULL,
    updated_at = $2
WHERE endpoint_id = ANY($1::uuid[]) AND state IN ('pending', 'held')
RETURNING delivery_id, referral_id, partner_id, person_id, message, attempts
"""
"""What nobody waits for any more."""
