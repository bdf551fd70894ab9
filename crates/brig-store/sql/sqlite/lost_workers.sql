-- Running jobs of every worker but one.
SELECT id, tenant, state, attempts, not_before, expires, worker, lease_until, max_attempts, queue_timeout_ms, durability
FROM jobs WHERE ended IS NULL AND state IN ('running', 'cancelling') AND worker <> $1
ORDER BY coalesce(lease_until, expires) LIMIT $2;
