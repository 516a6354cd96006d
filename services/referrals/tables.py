"""Statements on the referral service's read tables."""

SERVICES = (
    "SELECT service_id, partner_id, kind, name, thematiques, zone, minimum_age, maximum_age, "
    "policy FROM services"
)
UPSERT_SERVICES = """
INSERT INTO services
SELECT s->>'service_id', s->>'partner_id', s->>'kind', s->>'name',
       ARRAY(SELECT json_array_elements_text(s->'thematiques')),
       ARRAY(SELECT json_array_elements_text(coalesce(s->'zone_eligibilite', '[]'))),
       (s->>'minimum_age')::int, (s->>'maximum_age')::int, coalesce(s->>'policy', 'confirm')
FROM unnest($1::text[]::json[]) AS s
ON CONFLICT (service_id) DO UPDATE SET
  partner_id = excluded.partner_id, kind = excluded.kind, name = excluded.name,
  thematiques = excluded.thematiques, zone = excluded.zone,
  minimum_age = excluded.minimum_age, maximum_age = excluded.maximum_age,
  policy = excluded.policy
"""
KEEP_PERSON_EVENTS = """
INSERT INTO person_events (event_id, person_id, position, type, occurred_at, data, sealed)
SELECT event_id, person_id, position, type, occurred_at, data::json, sealed
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[], $5::timestamptz[], $6::text[],
            $7::bytea[]) AS new (event_id, person_id, position, type, occurred_at, data, sealed)
ON CONFLICT DO NOTHING
"""
PERSON_EVENTS = (
    "SELECT event_id, person_id, position, type, data::text AS data, sealed "
    "FROM person_events WHERE person_id = ANY($1) ORDER BY person_id, position"
)
INSERT_CASES = """
INSERT INTO cases (case_id, person_id, need_id, thematique, urgent, do_not_contact, status,
                   opened_at)
SELECT *, 'active', $7::timestamptz
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::boolean[], $6::boolean[])
"""
UPDATE_CASES = """
UPDATE cases c SET
  status = coalesce(n.status, c.status),
  proposal_id = coalesce(n.proposal_id, c.proposal_id),
  exhausted = coalesce(n.exhausted, c.exhausted)
FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[])
  AS n (case_id, status, proposal_id, exhausted)
WHERE c.case_id = n.case_id
"""
INSERT_REFERRALS = """
INSERT INTO referrals (referral_id, case_id, person_id, proposal_id, partner_id, partner_kind,
                       service_id, attempt, replaces, status, updated_at)
SELECT *, 'draft', $10::timestamptz
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
            $8::int[], $9::uuid[])
"""
UPDATE_REFERRALS = """
UPDATE referrals r SET
  status = coalesce(n.status, r.status),
  business_status = coalesce(n.business_status, r.business_status),
  reason = coalesce(n.reason, r.reason),
  outcome = coalesce(n.outcome, r.outcome),
  agreement_id = coalesce(n.agreement_id, r.agreement_id),
  appointment_at = coalesce(n.appointment_at, r.appointment_at),
  updated_at = $8
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[],
            $7::timestamptz[])
  AS n (referral_id, status, business_status, reason, outcome, agreement_id, appointment_at)
WHERE r.referral_id = n.referral_id
"""
TRIED = (
    "SELECT case_id, service_id FROM referrals WHERE case_id = ANY($1) "
    "ORDER BY case_id, attempt"
)
OPEN_REFERRALS = """
SELECT referral_id, case_id FROM referrals
WHERE person_id = $1 AND ($2::uuid IS NULL OR agreement_id = $2)
  AND status IN ('requested', 'accepted', 'in-progress', 'on-hold')
ORDER BY referral_id
"""
CASES = """
SELECT case_id, person_id, need_id, thematique, urgent, do_not_contact, status, proposal_id,
       exhausted, opened_at
FROM cases
WHERE ($1::uuid IS NULL OR person_id = $1) AND ($2::text IS NULL OR status = $2)
  AND ($3::uuid IS NULL OR case_id > $3)
ORDER BY case_id LIMIT $4
"""
CASE = CASES.replace("($3::uuid IS NULL OR case_id > $3)", "case_id = $3")
REFERRALS_OF_CASES = """
SELECT referral_id, case_id, proposal_id, partner_id, partner_kind, service_id, attempt,
       replaces, status, business_status, reason, outcome, agreement_id, appointment_at,
       updated_at
FROM referrals WHERE case_id = ANY($1) ORDER BY case_id, attempt
"""
KNOWN_CASES = "SELECT case_id FROM cases WHERE case_id = ANY($1)"
CASE_OF_PROPOSAL = "SELECT case_id FROM cases WHERE proposal_id = $1"
TRUNCATE = "TRUNCATE cases, referrals"
