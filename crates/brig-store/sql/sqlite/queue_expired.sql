-- Queued jobs whose time-out passed, the oldest first.
SELECT id, tenant, state, attempts, not_before, expires, worker, lease_until, max_attempts, queue_timeout_ms, durability
FROM jobs WHERE state = 'queued' AND expires <= $1 ORDER BY expires LIMIT $2;
