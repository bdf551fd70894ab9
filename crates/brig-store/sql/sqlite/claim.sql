-- Takes the next due job: of the waiting tenant with the fewest running jobs, among those the one served longest
-- ago (a trigger keeps both); within the tenant by priority, then by age. One statement is one transaction.
UPDATE jobs
SET state = 'running', attempts = attempts + 1, worker = $1, lease_until = $2, started = $3,
    not_before = NULL, expires = NULL
WHERE id = (
  SELECT next FROM (
    SELECT t.running, t.served, (
      SELECT j.id FROM jobs AS j
      WHERE j.tenant = t.tenant AND j.state = 'queued' AND j.not_before <= $3 AND j.expires > $3
      ORDER BY j.priority DESC, j.id LIMIT 1
    ) AS next
    FROM tenants AS t WHERE t.queued > 0
  )
  WHERE next IS NOT NULL ORDER BY running, served LIMIT 1
)
RETURNING *, (SELECT spec FROM specs WHERE specs.job = jobs.id) AS spec;
