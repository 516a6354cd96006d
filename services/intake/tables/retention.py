"""Statements about when persons were last here, and what is open with them."""

KEEP = """
INSERT INTO stays (person_id, last_contact_on, site) VALUES ($1, $2, $3)
ON CONFLICT (person_id) DO UPDATE SET
  site = CASE WHEN excluded.last_contact_on >= stays.last_contact_on
              THEN coalesce(excluded.site, stays.site) ELSE stays.site END,
  last_contact_on = greatest(stays.last_contact_on, excluded.last_contact_on)
"""
_ROOTS = """
WITH RECURSIVE up AS (
  SELECT person_id, into_id AS root FROM aliases
  UNION
  SELECT u.person_id, a.into_id FROM up u JOIN aliases a ON a.person_id = u.root
), roots AS (
  SELECT person_id, root FROM up
  WHERE NOT EXISTS (SELECT FROM aliases a WHERE a.person_id = up.root)
)
"""
STAYS = (
    _ROOTS
    + """
, known AS (
  SELECT s.person_id, coalesce(r.root, s.person_id) AS root, s.last_contact_on, s.site,
         s.archived,
         EXISTS (SELECT FROM open_work w WHERE w.person_id = s.person_id AND w.open) AS held
  FROM stays s LEFT JOIN roots r USING (person_id)
), old AS (
  SELECT root FROM known k
  WHERE NOT EXISTS (SELECT FROM limits l
                    WHERE l.person_id = k.person_id AND l.kind = 'restricted')
  GROUP BY root
  HAVING max(last_contact_on) <= $2
      OR max(last_contact_on) <= $1 AND NOT bool_and(archived)
)
SELECT person_id, root, last_contact_on, site, archived, held FROM known JOIN old USING (root)
"""
)
"""Persons who may be due: last here before a day and not archived, or before another."""
ARCHIVE = "UPDATE stays SET archived = true WHERE person_id = ANY($1::uuid[])"
MARK_ARCHIVED = "UPDATE stays SET archived = true WHERE person_id = $1"
MARK_REACTIVATED = "UPDATE stays SET archived = false WHERE person_id = $1"
DROP = "DELETE FROM stays WHERE person_id = $1"
REACTIVATE = (
    _ROOTS
    + """
, mine AS (
  SELECT coalesce((SELECT root FROM roots WHERE person_id = $1), $1::uuid) AS root
)
UPDATE stays s SET archived = false
WHERE s.archived AND (
  s.person_id = (SELECT root FROM mine)
  OR s.person_id IN (SELECT person_id FROM roots JOIN mine USING (root)))
RETURNING s.person_id
"""
)
DROP_FORGOTTEN = (
    "DELETE FROM stays WHERE person_id IN (SELECT person_id FROM forgotten)",
    "DELETE FROM open_work WHERE person_id IN (SELECT person_id FROM forgotten)",
)
OPENED = (
    "INSERT INTO open_work (work_id, person_id, open) VALUES ($1, $2, true) "
    "ON CONFLICT DO NOTHING"
)
CLOSED = """
INSERT INTO open_work (work_id, person_id, open) VALUES ($1, $2, false)
ON CONFLICT (work_id) DO UPDATE SET open = false
"""
STAYS_ON = """
SELECT EXISTS (SELECT FROM events
               WHERE stream = ANY($1::text[]) AND type = ANY($2) AND recorded_at >= $3)
    OR EXISTS (SELECT FROM open_work WHERE person_id = ANY($4::uuid[]) AND open)
    OR EXISTS (SELECT FROM limits WHERE person_id = ANY($4::uuid[]) AND kind = 'restricted')
"""
"""True if a person stays after all, by the events themselves: a contact since a moment, which
the subscription has not seen yet; open work; or a restriction."""
