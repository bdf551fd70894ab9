-- Queued jobs whose time-out passed, the oldest first.
SELECT id, tenant, state, attempts, not_before, expires, worker, lease_until, max_attempts, queue_timeout_ms, durability
FROM jobs WHERE ended IS NULL AND coalesce(lease_until, expires) <= $1 AND state = 'queued'
ORDER BY coalesce(lease_until, expires) LIMIT $2;
