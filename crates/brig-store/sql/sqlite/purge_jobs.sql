-- Removes a few terminal jobs that ended before `$1`, or not after the cut-off (`$2`, `$3`), with all that is theirs.
DELETE FROM jobs WHERE id IN (
  SELECT id FROM jobs WHERE ended IS NOT NULL AND (ended < $1 OR (ended, id) <= ($2, $3))
  ORDER BY ended, id LIMIT $4
) RETURNING id;
