"""Statements about files: who exchanges them, what lies in which, what was read."""

FILE_ENDPOINTS = """
SELECT endpoint_id, partner_id FROM endpoints
WHERE channel = $1 AND state = 'active' ORDER BY created_at
"""
KEEP_FILES = """
UPDATE deliveries d SET file = n.file
FROM unnest($1::uuid[], $2::text[]) AS n (delivery_id, file)
WHERE d.delivery_id = n.delivery_id
"""
"""Before they are laid down: whoever reads one at once may say so at once."""
REST_BATCHES = """
UPDATE endpoints e SET rate_at = $2::timestamptz + make_interval(mins => e.batch_minutes)
WHERE e.endpoint_id = ANY($1::uuid[]) AND e.batch_minutes IS NOT NULL AND NOT EXISTS (
  SELECT FROM deliveries d
  WHERE d.endpoint_id = e.endpoint_id AND d.state = 'pending' AND d.next_attempt_at <= $2
)
"""
"""Until the next file is due, unless there was more than one file holds."""
KNOWN_FILES = """
SELECT DISTINCT file FROM deliveries WHERE partner_id = $1 AND file = ANY($2::text[])
"""
ACKNOWLEDGE = """
UPDATE deliveries SET acknowledged_at = $3
WHERE partner_id = $1 AND file = ANY($2::text[]) AND acknowledged_at IS NULL
RETURNING delivery_id, referral_id, partner_id, person_id, message
"""
