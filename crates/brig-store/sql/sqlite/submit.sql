-- Stores a job (a trigger adds its first event), unless its key was used before or the tenant's queue is full.
-- The first row tells which: it is read in the same transaction, before anything is written.
BEGIN IMMEDIATE;

SELECT
  (SELECT job FROM idempotency WHERE tenant = $2 AND method = $10 AND key = $11) AS known_job,
  (SELECT digest FROM idempotency WHERE tenant = $2 AND method = $10 AND key = $11) AS known_digest,
  coalesce((SELECT queued FROM tenants WHERE tenant = $2), 0) AS queued;

INSERT INTO jobs (id, tenant, created_by, created, labels, priority, durability, max_attempts, queue_timeout_ms,
                  state, attempts, not_before, expires, last_seq)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, 'queued', 0, $4, $4 + $9, 1
WHERE NOT EXISTS (SELECT 1 FROM idempotency WHERE tenant = $2 AND method = $10 AND key = $11)
  AND coalesce((SELECT queued FROM tenants WHERE tenant = $2), 0) < $13;

INSERT INTO specs (job, spec) SELECT id, $14 FROM jobs WHERE id = $1;

INSERT INTO idempotency (tenant, method, key, digest, job, created)
SELECT $2, $10, $11, $12, id, $4 FROM jobs WHERE id = $1 AND $11 IS NOT NULL;

INSERT INTO job_files (job, tenant, file)
SELECT DISTINCT jobs.id, $2, unhex(named.value) FROM jobs, json_each($15) AS named WHERE jobs.id = $1;

COMMIT;
