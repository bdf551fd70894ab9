-- Forgets a few idempotency keys that are too old.
DELETE FROM idempotency WHERE (tenant, method, key) IN (
  SELECT tenant, method, key FROM idempotency WHERE created < $1 LIMIT $2
) RETURNING 1;
