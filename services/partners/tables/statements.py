"""The statements of the partner service, each on a whole set."""

from services.partners.tables.channels import ABOUT_PERSON, MAY_HAVE_IT, OPEN
from services.partners.tables.withdrawals import WITHDRAWN

UPSERT_PARTNERS = """
INSERT INTO partners (partner_id, kind, name, structure)
SELECT partner_id, kind, name, structure::json
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])
  AS new (partner_id, kind, name, structure)
ON CONFLICT (partner_id) DO UPDATE
SET kind = excluded.kind, name = excluded.name, structure = excluded.structure
"""
UPSERT_SERVICES = """
INSERT INTO services
  (service_id, partner_id, kind, name, policy, commission, published)
SELECT service_id, partner_id, kind, name, policy, commission, published::json
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[],
            $7::text[])
  AS new (service_id, partner_id, kind, name, policy, commission, published)
ON CONFLICT (service_id) DO UPDATE
SET partner_id = excluded.partner_id, kind = excluded.kind, name = excluded.name,
    policy = excluded.policy, commission = excluded.commission,
    published = excluded.published, withdrawn = false
"""
LOCK_SERVICE = "SELECT 1 FROM services WHERE service_id = $1 FOR UPDATE"
KEEP_CAPACITY = """
UPDATE services SET capacity = $2, seats = $3, capacity_until = $4, capacity_at = $5,
  sessions = $6
WHERE service_id = $1 AND (capacity_at IS NULL OR capacity_at <= $5)
"""
SUGGESTED = "SELECT 1 FROM services WHERE service_id = $1 AND NOT withdrawn"
SERVICE = "SELECT partner_id FROM services WHERE service_id = $1"
SERVICES_OF = "SELECT service_id FROM services WHERE partner_id = $1"
PARTNER_KIND = "SELECT kind FROM partners WHERE partner_id = $1"

INSERT_STATES = """
INSERT INTO referral_states
  (referral_id, partner_id, service_id, case_id, person_id, status, updated_version,
   commission_on, appointment_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[], $6::text[],
                     $7::int[], $8::date[], $9::timestamptz[])
ON CONFLICT (referral_id) DO NOTHING
"""
UPDATE_STATES = """
UPDATE referral_states r
SET status = coalesce(n.status, r.status),
    updated_version = n.version,
    asked_status = CASE WHEN n.settles OR r.asked_answer_id = ANY($8::uuid[])
                        THEN NULL ELSE r.asked_status END,
    commission_on = coalesce(n.commission_on, r.commission_on),
    appointment_at = CASE WHEN n.appointed THEN n.appointment_at ELSE r.appointment_at END
FROM unnest($1::uuid[], $2::text[], $3::int[], $4::boolean[], $5::date[], $6::boolean[],
            $7::timestamptz[])
  AS n (referral_id, status, version, settles, commission_on, appointed, appointment_at)
WHERE r.referral_id = n.referral_id AND r.updated_version < n.version
"""

INSERT_ENDPOINT = """
INSERT INTO endpoints (endpoint_id, partner_id, service_ids, url, channel, rank, ordering,
                       per_minute, concurrency, batch_minutes, keeps_appointments,
                       verified_at, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
"""
INSERT_SECRET = """
INSERT INTO endpoint_secrets (secret_id, endpoint_id, kind, wrapped, created_at)
VALUES ($1, $2, $3, $4, $5)
"""
SUPERSEDE_ENDPOINTS = """
UPDATE endpoints SET state = 'disabled', reason = 'superseded'
WHERE partner_id = $1 AND url = $2 AND state = 'active' AND endpoint_id <> $3
RETURNING endpoint_id
"""
LOCK_ENDPOINT = """
SELECT partner_id FROM endpoints WHERE endpoint_id = $1 AND state = 'active' FOR UPDATE
"""
EXPIRE_SECRETS = """
UPDATE endpoint_secrets SET expires_at = least(expires_at, $2)
WHERE endpoint_id = ANY($1::uuid[]) AND kind = ANY($3::text[])
"""
"""``least`` passes over null: what had no end gets one, what had one gets none later."""
EXPIRE_ALL_SECRETS = """
UPDATE endpoint_secrets SET expires_at = least(expires_at, $2)
WHERE endpoint_id = ANY($1::uuid[])
"""
DROP_EXPIRED_SECRETS = """
DELETE FROM endpoint_secrets WHERE endpoint_id = $1 AND expires_at <= $2
"""
OTHER_ENDPOINTS = """
SELECT count(*) FROM endpoints WHERE partner_id = $1 AND state = 'active' AND url <> $2
"""
MOVE_DELIVERIES = """
UPDATE deliveries SET endpoint_id = $2
WHERE endpoint_id = ANY($1::uuid[]) AND state = 'pending'
"""
ENDPOINTS_FOR = """
SELECT DISTINCT ON (w.partner_id, w.service_id) w.partner_id, w.service_id, e.endpoint_id
FROM unnest($1::text[], $2::text[]) AS w (partner_id, service_id)
JOIN endpoints e ON e.partner_id = w.partner_id AND e.state = 'active'
 AND (e.service_ids = '{}' OR w.service_id = ANY(e.service_ids))
 AND ($3::boolean IS NULL OR $3 = e.keeps_appointments)
ORDER BY w.partner_id, w.service_id, e.rank, e.created_at DESC, e.endpoint_id
"""
"""By API or, for what no API has words for, not by API; null: by any channel."""
LOCK_ENDPOINTS = """
SELECT endpoint_id FROM endpoints WHERE endpoint_id = ANY($1::uuid[]) AND state = 'active'
ORDER BY endpoint_id FOR SHARE
"""
SECRETS_OF_ENDPOINTS = """
SELECT endpoint_id, secret_id, kind, wrapped FROM endpoint_secrets
WHERE endpoint_id = ANY($1::uuid[]) AND (expires_at IS NULL OR expires_at > $2)
ORDER BY created_at DESC
"""
SECRETS_FOR_REFERRAL = """
SELECT r.partner_id, s.endpoint_id, s.secret_id, s.kind, s.wrapped
FROM referral_states r
JOIN endpoints e ON e.partner_id = r.partner_id
JOIN endpoint_secrets s ON s.endpoint_id = e.endpoint_id
WHERE r.referral_id = $1 AND s.kind = 'v1' AND (s.expires_at IS NULL OR s.expires_at > $2)
ORDER BY s.created_at DESC
"""

DELIVERY_COLUMNS = (
    "delivery_id",
    "endpoint_id",
    "partner_id",
    "service_id",
    "referral_id",
    "person_id",
    "message",
    "event_id",
    "event_type",
    "occurred_at",
    "data",
    "sealed",
    "traceparent",
    "agreement_id",
    "agreed_until",
    "state",
    "next_attempt_at",
    "last_error",
    "disclosed",
    "partner_reference",
)
_DELIVERY_TYPES = (
    "uuid",
    "uuid",
    "text",
    "text",
    "uuid",
    "uuid",
    "text",
    "uuid",
    "text",
    "timestamptz",
    "text",
    "bytea",
    "text",
    "uuid",
    "date",
    "text",
    "timestamptz",
    "text",
    "boolean",
    "bytea",
)
_ARRAYS = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(_DELIVERY_TYPES, 1))
INSERT_DELIVERIES = f"""
INSERT INTO deliveries ({", ".join(DELIVERY_COLUMNS)}, created_at, updated_at)
SELECT *, ${len(_DELIVERY_TYPES) + 1}, ${len(_DELIVERY_TYPES) + 1}
FROM unnest({_ARRAYS})
ON CONFLICT (delivery_id) DO NOTHING
RETURNING delivery_id
"""
CANCEL_DELIVERIES = f"""
UPDATE deliveries SET state = 'cancelled', updated_at = $2
WHERE referral_id = ANY($1::uuid[])
  AND message IN {ABOUT_PERSON}
  AND state IN ('pending', 'manual', 'held')
"""
KNOWN_TO_PARTNER = f"""
SELECT d.referral_id, d.partner_id, d.service_id, d.person_id, r.partner_reference,
       e.keeps_appointments AND (d.external_id IS NOT NULL OR d.state <> 'succeeded')
         AS by_api,
       (SELECT max(l.next_attempt_at) FROM deliveries l
        WHERE l.referral_id = d.referral_id AND l.lease IS NOT NULL) AS leased_until
FROM deliveries d
LEFT JOIN endpoints e ON e.endpoint_id = d.endpoint_id
LEFT JOIN referral_states r ON r.referral_id = d.referral_id
WHERE d.referral_id = ANY($1::uuid[]) AND d.message = 'referral.requested' AND {MAY_HAVE_IT}
"""
LANES = """
SELECT e.endpoint_id, e.failures, e.concurrency, e.per_minute, e.rate_at, e.batch_minutes
FROM endpoints e
WHERE e.state = 'active' AND e.verified_at IS NOT NULL
  AND (e.open_until IS NULL OR e.open_until <= $1)
  AND (e.batch_minutes IS NULL OR e.rate_at IS NULL OR e.rate_at <= $1)
  AND EXISTS (
    SELECT FROM deliveries d
    WHERE d.endpoint_id = e.endpoint_id AND d.state = 'pending' AND d.next_attempt_at <= $1
  )
ORDER BY random() LIMIT 1000
"""
CLAIM = f"""
WITH due AS (
  SELECT d.*, row_number() OVER (PARTITION BY d.retry ORDER BY d.next_attempt_at) AS place
  FROM unnest($2::uuid[], $3::int[]) AS lane (endpoint_id, share)
  JOIN endpoints e ON e.endpoint_id = lane.endpoint_id AND e.state = 'active'
  CROSS JOIN LATERAL (
    SELECT delivery_id, next_attempt_at, attempts > tries_before AS retry
    FROM deliveries p
    WHERE p.endpoint_id = lane.endpoint_id AND p.state = 'pending'
      AND p.next_attempt_at <= $1
      AND (e.ordering = 'none' OR NOT EXISTS (
        SELECT FROM deliveries head
        WHERE head.endpoint_id = p.endpoint_id AND head.person_id = p.person_id
          AND head.state = 'pending' AND head.seq < p.seq))
    ORDER BY next_attempt_at LIMIT lane.share FOR UPDATE OF p SKIP LOCKED
  ) d
)
UPDATE deliveries d
SET lease = $4, next_attempt_at = $5, attempts = d.attempts + 1, updated_at = $1
FROM due, endpoints e
WHERE d.delivery_id = due.delivery_id AND (NOT due.retry OR due.place <= $6)
  AND e.endpoint_id = d.endpoint_id
RETURNING d.delivery_id, d.endpoint_id, d.partner_id, d.service_id, d.referral_id,
  d.person_id, d.message, d.event_id, d.event_type, d.occurred_at, d.data, d.sealed,
  d.partner_reference, d.traceparent, d.agreed_until, d.attempts, d.tries_before, e.url,
  e.channel, e.batch_minutes,
{WITHDRAWN}"""
KEEP_RATES = """
UPDATE endpoints e SET rate_at = n.rate_at
FROM unnest($1::uuid[], $2::timestamptz[]) AS n (endpoint_id, rate_at)
WHERE e.endpoint_id = n.endpoint_id
"""
RECORD = """
WITH result AS (
  SELECT * FROM unnest(
    $1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::text[], $6::int[], $7::uuid[],
    $8::uuid[], $9::int[], $10::text[], $11::timestamptz[], $12::int[], $13::text[]
  ) AS n (delivery_id, lease, state, next_attempt_at, error, status, moved_to,
          endpoint_id, attempt, outcome, sent_at, duration_ms, external_id)
), kept AS (
  INSERT INTO delivery_attempts
    (delivery_id, attempt, endpoint_id, sent_at, outcome, status, error, duration_ms)
  SELECT delivery_id, attempt, endpoint_id, sent_at, outcome, status, error, duration_ms
  FROM result
)
UPDATE deliveries d
SET state = CASE WHEN d.state = 'pending' OR n.state = 'succeeded'
                 THEN n.state ELSE d.state END,
    next_attempt_at = n.next_attempt_at, lease = NULL, last_error = n.error,
    last_status = n.status, updated_at = $14,
    external_id = coalesce(n.external_id, d.external_id),
    endpoint_id = coalesce(n.moved_to, d.endpoint_id),
    tries_before = CASE WHEN n.moved_to IS NULL THEN d.tries_before ELSE d.attempts END,
    in_vain = d.in_vain
      + CASE WHEN n.outcome = 'permanent' AND n.status IS NULL THEN 1 ELSE 0 END
FROM result n
WHERE d.delivery_id = n.delivery_id AND d.lease = n.lease
RETURNING d.delivery_id, d.state
"""
HEALTH = """
SELECT endpoint_id, failures, failing_since, open_until FROM endpoints
WHERE endpoint_id = ANY($1::uuid[]) AND (failures > 0 OR endpoint_id = ANY($2::uuid[]))
ORDER BY endpoint_id FOR UPDATE
"""
KEEP_HEALTH = """
UPDATE endpoints e
SET failures = n.failures, failing_since = n.failing_since, open_until = n.open_until
FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::timestamptz[])
  AS n (endpoint_id, failures, failing_since, open_until)
WHERE e.endpoint_id = n.endpoint_id
"""
DISABLE_ENDPOINTS = """
UPDATE endpoints SET state = 'disabled', reason = $2
WHERE endpoint_id = ANY($1::uuid[]) AND state = 'active'
RETURNING endpoint_id, partner_id
"""

REMINDABLE = f"""
SELECT d.referral_id, d.partner_id, d.service_id, d.person_id, r.partner_reference
FROM deliveries d JOIN referral_states r ON r.referral_id = d.referral_id
WHERE d.referral_id = ANY($1::uuid[]) AND d.message = 'referral.requested'
  AND d.state = 'succeeded'
  AND coalesce(r.asked_status, r.status) IN {OPEN}
"""
DROP_REMINDERS = """
UPDATE deliveries SET state = 'cancelled', updated_at = $2
WHERE referral_id = ANY($1::uuid[]) AND message = 'referral.reminded'
  AND state IN ('pending', 'manual', 'held')
"""
LOCK_STATE = """
SELECT r.partner_id, r.service_id, r.person_id, r.commission_on,
       r.updated_version, coalesce(r.asked_status, r.status) AS status,
       coalesce(s.commission, false) AS commission
FROM referral_states r LEFT JOIN services s USING (service_id)
WHERE r.referral_id = $1 FOR UPDATE OF r
"""
ANSWER = """
SELECT body_digest, answer_id, referral_id, status FROM answers
WHERE partner_id = $1 AND id_digest = $2
"""
INSERT_ANSWER = """
INSERT INTO answers (partner_id, id_digest, body_digest, answer_id, referral_id, person_id,
                     status, received_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (partner_id, id_digest) DO NOTHING
RETURNING answer_id
"""
ASK = """
UPDATE referral_states SET asked_status = $2, asked_answer_id = $3,
  commission_on = coalesce($4, commission_on),
  partner_reference = coalesce($5, partner_reference)
WHERE referral_id = $1
"""
KEEP_WORDS = """
UPDATE referral_states r
SET asked_status = n.asked_status, asked_answer_id = n.asked_answer_id,
    commission_on = n.commission_on, partner_reference = n.partner_reference
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::date[], $5::bytea[])
  AS n (referral_id, asked_status, asked_answer_id, commission_on, partner_reference)
WHERE r.referral_id = n.referral_id
"""
"""What ``ASK``, ``UPDATE_STATES`` and ``KEEP_REFERENCES`` come to, one after the other."""
KEEP_REFERENCES = """
UPDATE referral_states r SET partner_reference = n.partner_reference
FROM unnest($1::uuid[], $2::bytea[]) AS n (referral_id, partner_reference)
WHERE r.referral_id = n.referral_id
"""

DROP_FORGOTTEN_STATES = (
    "DELETE FROM referral_states WHERE person_id IN (SELECT person_id FROM forgotten)"
)

UNVERIFIED = """
UPDATE endpoints SET open_until = $2
WHERE endpoint_id IN (
  SELECT endpoint_id FROM endpoints
  WHERE state = 'active' AND verified_at IS NULL AND (open_until IS NULL OR open_until <= $1)
  ORDER BY created_at LIMIT 20 FOR UPDATE SKIP LOCKED
)
RETURNING endpoint_id, partner_id, channel, url, failures, failing_since
"""
VERIFY = """
UPDATE endpoints
SET verified_at = $2, failures = 0, failing_since = NULL, open_until = NULL,
    per_minute = least($3, per_minute)
WHERE endpoint_id = $1 AND verified_at IS NULL AND state = 'active'
RETURNING endpoint_id
"""
ACTIVE_ENDPOINT = """
SELECT endpoint_id, partner_id, channel, url, failures, failing_since FROM endpoints
WHERE endpoint_id = $1 AND state = 'active' AND ($2::text IS NULL OR partner_id = $2)
"""
