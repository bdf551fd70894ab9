-- Renews the lease of the current attempt, also while it is being cancelled.
UPDATE jobs SET lease_until = $3
WHERE id = $1 AND attempts = $2 AND state IN ('running', 'cancelling')
RETURNING state, attempts, not_before, expires, worker, lease_until;
