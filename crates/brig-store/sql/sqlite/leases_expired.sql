-- Running jobs whose lease ran out, the oldest first.
SELECT id, tenant, state, attempts, not_before, expires, worker, lease_until, max_attempts, queue_timeout_ms, durability
FROM jobs WHERE state IN ('running', 'cancelling') AND lease_until <= $1 ORDER BY lease_until LIMIT $2;
