-- Where one job stands, with what decides its next state.
SELECT id, tenant, state, attempts, not_before, expires, worker, lease_until, max_attempts, queue_timeout_ms, durability
FROM jobs WHERE id = $1;
