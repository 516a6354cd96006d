"""Statements about agreements that are withdrawn."""

from services.partners.tables.channels import MAY_HAVE_IT

WITHDRAWN = """
  d.agreement_id IS NOT NULL AND EXISTS (
    SELECT FROM withdrawals w
    WHERE w.person_id = d.person_id
      AND (w.agreement_id = d.agreement_id
           OR w.agreement_id IS NULL AND d.occurred_at <= w.withdrawn_at)
  ) AS withdrawn
"""
"""Whether the agreement of a delivery ``d`` is withdrawn by now."""
WITHDRAW = """
INSERT INTO withdrawals (person_id, agreement_id, withdrawn_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[])
ON CONFLICT (person_id, agreement_id) DO UPDATE
SET withdrawn_at = greatest(withdrawals.withdrawn_at, excluded.withdrawn_at)
"""
_UNDER = "(d.agreement_id = $2 OR $2::uuid IS NULL AND d.occurred_at <= $3)"
"""Of the agreement named, or of any until a moment."""
DROP_WITHDRAWN = f"""
UPDATE deliveries d
SET state = 'cancelled', last_error = 'agreement-withdrawn', lease = NULL, updated_at = $4
WHERE d.person_id = $1 AND d.agreement_id IS NOT NULL
  AND d.state IN ('pending', 'manual', 'held') AND NOT ({MAY_HAVE_IT})
  AND {_UNDER}
"""
TOLD_UNDER = f"""
SELECT d.referral_id, d.partner_id, d.service_id, d.person_id, r.partner_reference
FROM deliveries d LEFT JOIN referral_states r USING (referral_id)
WHERE d.person_id = $1 AND {MAY_HAVE_IT} AND d.message = 'referral.requested'
  AND {_UNDER}
ORDER BY d.seq
"""
"""Requests that a partner got, or may have got, under an agreement."""
