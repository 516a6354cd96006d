"""SQL text on the referral service's read tables: sets, locks, what subscriptions do."""

OPEN = "('requested', 'accepted', 'in-progress', 'on-hold')"
SERVICES = f"""
SELECT s.service_id, s.position, s.capacity, s.capacity_until,
       coalesce(o.load, 0)::int AS load,
       (SELECT coalesce(max(position), 0) FROM offsets WHERE subscription = 'directory')
         AS directory_at,
       (SELECT coalesce(max(position), 0) FROM events) AS referrals_at
FROM services s
LEFT JOIN (SELECT service_id, count(*) AS load FROM referrals WHERE status IN {OPEN}
           GROUP BY service_id) o USING (service_id)
WHERE s.published IS NOT NULL ORDER BY s.service_id
"""
"""The directory and what is open at it, as of one moment: the positions of both
logs, of the partners' as far as it was read."""
PUBLISHED = """
SELECT service_id, position, published::text AS published FROM services
WHERE service_id = ANY($1) AND published IS NOT NULL
"""
KINDS = """
SELECT DISTINCT published->>'kind' AS kind FROM services WHERE published IS NOT NULL
"""
ALARMS_OF = "SELECT subject FROM alarms WHERE kind = $1"
UPSERT_SERVICES = """
INSERT INTO services (service_id, published, position)
SELECT published->>'service_id', published, position
FROM unnest($1::text[]::json[], $2::bigint[]) AS new (published, position)
ON CONFLICT (service_id) DO UPDATE SET
  published = excluded.published, position = excluded.position
"""
SERVICE_IDS_AS_OF = """
SELECT data->>'service_id' AS service_id
FROM partners.events WHERE position <= $1 AND type LIKE '%.service.published.v1'
GROUP BY 1 ORDER BY 1
"""
SERVICES_AS_OF = """
SELECT data::text AS data FROM (
  SELECT DISTINCT ON (data->>'service_id') data, type
  FROM partners.events
  WHERE data->>'service_id' = ANY($1) AND position <= $2
    AND type IN ('fr.aiguillage.partners.service.published.v1',
                 'fr.aiguillage.partners.service.withdrawn.v1')
  ORDER BY data->>'service_id', position DESC
) last WHERE type = 'fr.aiguillage.partners.service.published.v1'
"""
CAPACITIES_AS_OF = """
SELECT DISTINCT ON (data->>'service_id') data->>'service_id' AS service_id,
       data->>'status' AS capacity, (data->>'until')::date AS capacity_until
FROM partners.events
WHERE position <= $1 AND type = 'fr.aiguillage.partners.capacity.reported.v1'
ORDER BY data->>'service_id', (data->>'reported_at')::timestamptz DESC, position DESC
"""
LOADS_AS_OF = f"""
WITH known AS (SELECT * FROM events WHERE position <= $1),
last AS (
  SELECT DISTINCT ON (stream) stream, person_id,
         CASE type WHEN 'fr.aiguillage.referrals.referral.requested.v1' THEN 'requested'
                   ELSE data->>'status' END AS status
  FROM known WHERE type LIKE 'fr.aiguillage.referrals.referral.%'
    AND type NOT LIKE '%.proposed.v1' AND type NOT LIKE '%.confirmed.v1'
  ORDER BY stream, version DESC
)
SELECT p.data->>'service_id' AS service_id, count(*)::int AS load
FROM last JOIN known p USING (stream)
WHERE p.type = 'fr.aiguillage.referrals.referral.proposed.v1' AND last.status IN {OPEN}
  AND NOT EXISTS (SELECT FROM known f WHERE f.person_id = last.person_id
                  AND f.type = 'fr.aiguillage.referrals.person.forgotten.v1')
GROUP BY 1
"""
"""Referrals open at each service as of one of our own events, as the read table had them."""
KEEP_CAPACITY = """
INSERT INTO services (service_id, published, capacity, capacity_until, capacity_at)
SELECT n.service_id, NULL, n.capacity, n.until, n.at
FROM unnest($1::text[], $2::text[], $3::date[], $4::timestamptz[])
  AS n (service_id, capacity, until, at)
ON CONFLICT (service_id) DO UPDATE SET
  capacity = excluded.capacity, capacity_until = excluded.capacity_until,
  capacity_at = excluded.capacity_at
WHERE services.capacity_at IS NULL OR services.capacity_at <= excluded.capacity_at
"""
KEEP_PERSON_EVENTS = """
INSERT INTO person_events (event_id, person_id, position, type, occurred_at, data, sealed)
SELECT event_id, person_id, position, type, occurred_at, data::json, sealed
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::timestamptz[], $6::text[],
            $7::bytea[]) AS new (event_id, person_id, position, type, occurred_at, data, sealed)
ON CONFLICT DO NOTHING
"""
_SAME_PERSON = """
WITH RECURSIVE up AS (
  SELECT id AS wanted, id AS person_id FROM unnest($1::uuid[]) AS id
  UNION
  SELECT u.wanted, a.into_id FROM up u JOIN aliases a USING (person_id)
), same AS (
  SELECT wanted, person_id FROM up u
  WHERE NOT EXISTS (SELECT FROM aliases a WHERE a.person_id = u.person_id)
  UNION
  SELECT s.wanted, a.person_id FROM same s JOIN aliases a ON a.into_id = s.person_id
)
"""
"""The ids under which a person is known: who was merged into whom, up and down again."""
PERSON_EVENTS = (
    _SAME_PERSON
    + """
SELECT s.wanted, e.event_id, e.person_id, e.position, e.type, e.data::text AS data, e.sealed
FROM same s JOIN person_events e USING (person_id) ORDER BY s.wanted, e.position
"""
)
KEEP_ALIAS = """
INSERT INTO aliases (person_id, into_id) VALUES ($1, $2)
ON CONFLICT (person_id) DO UPDATE SET into_id = excluded.into_id
"""
DROP_ALIAS = "DELETE FROM aliases WHERE person_id = $1"
INSERT_CASES = """
INSERT INTO cases (case_id, person_id, need_id, thematique, urgent, do_not_contact, parallel,
                   status, opened_at)
SELECT *, 'active', $8::timestamptz
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::boolean[], $6::boolean[],
            $7::boolean[])
"""
UPDATE_CASES = """
UPDATE cases c SET (status, outcome, proposal_id, questions, exhausted, exhausted_due) =
  (SELECT p.status, p.outcome, p.proposal_id, p.questions, p.exhausted, p.exhausted_due
   FROM jsonb_populate_record(c, n.change::jsonb) p)
FROM unnest($1::uuid[], $2::text[]) AS n (case_id, change)
WHERE c.case_id = n.case_id
"""
INSERT_REFERRALS = """
INSERT INTO referrals (referral_id, case_id, person_id, proposal_id, partner_id, partner_kind,
                       service_id, attempt, replaces, status, updated_at)
SELECT *, 'draft', $10::timestamptz
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
            $8::int[], $9::uuid[])
"""
_CHANGING = (
    "status, business_status, reason, outcome, agreement_id, appointment_at, commission_on, "
    "suggested_service_id, awaits, remind_on, escalate_on, expire_on, passed, requested_on, "
    "refused_answer"
)
UPDATE_REFERRALS = f"""
UPDATE referrals r SET ({_CHANGING}, answered_at, updated_at) =
  (SELECT {_CHANGING}, coalesce(r.answered_at, answered_at), $3::timestamptz
   FROM jsonb_populate_record(r, n.change::jsonb))
FROM unnest($1::uuid[], $2::text[]) AS n (referral_id, change)
WHERE r.referral_id = n.referral_id
"""
"""Columns that a change does not name stay as they are; those it names as null are emptied."""
SIBLINGS = """
SELECT DISTINCT s.referral_id, s.case_id, s.attempt
FROM referrals r JOIN referrals s USING (case_id)
WHERE r.referral_id = ANY($1) ORDER BY s.case_id, s.attempt
"""
OF_CASES = """
SELECT r.referral_id, c.case_id FROM cases c LEFT JOIN referrals r USING (case_id)
WHERE c.case_id = ANY($1) ORDER BY c.case_id, r.attempt
"""
OPEN_REFERRALS = (
    _SAME_PERSON.replace("$1::uuid[]", "ARRAY[$1::uuid]")
    + f"""
SELECT referral_id, case_id FROM referrals
WHERE person_id IN (SELECT person_id FROM same)
  AND ($2::uuid IS NULL OR agreement_id = $2) AND status IN {OPEN}
ORDER BY referral_id
"""
)
DUE = """
SELECT referral_id FROM referrals r
WHERE next_on <= $1 AND referral_id <> ALL($2::uuid[])
  AND NOT EXISTS (
    SELECT FROM limits l WHERE l.person_id = r.person_id AND l.kind = 'restricted')
ORDER BY next_on, referral_id LIMIT $3 FOR UPDATE OF r SKIP LOCKED
"""
KNOWN_CASES = "SELECT case_id FROM cases WHERE case_id = ANY($1)"
CASE_OF_PROPOSAL = "SELECT case_id FROM proposals WHERE proposal_id = $1"
INSERT_PROPOSALS = """
INSERT INTO proposals (proposal_id, case_id, rules_digest, evaluated_on)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::date[])
"""
DROP_UNDELIVERED = """
DELETE FROM undelivered u USING unnest($1::uuid[], $2::text[]) AS n (referral_id, message)
WHERE u.referral_id = n.referral_id AND u.message = n.message
"""
KEEP_UNDELIVERED = """
INSERT INTO undelivered (referral_id, message, trouble, error, since)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::date[])
"""
KEEP_DUPLICATE = """
INSERT INTO duplicates (person_id, other_id, since) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""
DROP_DUPLICATE = """
DELETE FROM duplicates
WHERE (person_id, other_id) IN (($1::uuid, $2::uuid), ($2::uuid, $1::uuid))
"""
INSERT_RULES = """
INSERT INTO rules (version, rules, digest, content, published_at)
VALUES ($1, $2, $3, $4::json, $5)
"""
RULES_IN_FORCE = """
SELECT version, rules AS name, digest, content::text AS content
FROM rules ORDER BY version DESC LIMIT 1
"""
COUNT_PROPOSALS = """
SELECT count(*) FROM proposals WHERE $1::date IS NULL OR evaluated_on >= $1
"""
REFERRALS_OF_PROPOSAL = """
SELECT referral_id FROM referrals WHERE proposal_id = $1 ORDER BY attempt
"""
RULES_OF_DIGEST = RULES_IN_FORCE.replace("ORDER BY", "WHERE digest = $1 ORDER BY")
ACTIVE_OF_PERSONS = """
SELECT case_id FROM cases WHERE person_id = ANY($1::uuid[]) AND status = 'active'
"""
FORGET = (
    "DELETE FROM undelivered WHERE referral_id IN "
    "(SELECT referral_id FROM referrals WHERE person_id = ANY($1::uuid[]))",
    "DELETE FROM proposals WHERE case_id IN "
    "(SELECT case_id FROM cases WHERE person_id = ANY($1::uuid[]))",
    "DELETE FROM referrals WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM cases WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM person_events WHERE person_id = ANY($1::uuid[])",
    "DELETE FROM aliases WHERE person_id = ANY($1::uuid[]) OR into_id = ANY($1::uuid[])",
    "DELETE FROM duplicates WHERE person_id = ANY($1::uuid[]) OR other_id = ANY($1::uuid[])",
)
WITHDRAW_SERVICES = """
UPDATE services SET published = NULL WHERE service_id = ANY($1::text[])
"""
