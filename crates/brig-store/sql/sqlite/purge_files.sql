-- Forgets a few files that nothing refers to any more: those of jobs that are gone, and old uploads.
DELETE FROM files WHERE id IN (
  SELECT f.id FROM files AS f
  WHERE (CASE WHEN f.job IS NULL THEN f.created < $1
              ELSE NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.id = f.job) END)
    AND NOT EXISTS (SELECT 1 FROM job_files AS r WHERE r.tenant = f.tenant AND r.file = f.id)
  LIMIT $2
) RETURNING id;
