-- The newest terminal job beyond the `$1` that are kept.
SELECT ended, id FROM jobs WHERE ended IS NOT NULL ORDER BY ended DESC, id DESC LIMIT 1 OFFSET $1;
