-- Forgets a file unless a job that has not ended needs it. The first row tells what was there before.
BEGIN IMMEDIATE;

SELECT EXISTS (
  SELECT 1 FROM job_files AS r JOIN jobs AS j ON j.id = r.job
  WHERE r.tenant = f.tenant AND r.file = f.id AND j.ended IS NULL
) AS needed FROM files AS f WHERE f.id = $1 AND f.tenant = $2;

DELETE FROM files WHERE id = $1 AND tenant = $2 AND NOT EXISTS (
  SELECT 1 FROM job_files AS r JOIN jobs AS j ON j.id = r.job
  WHERE r.tenant = $2 AND r.file = $1 AND j.ended IS NULL
);

COMMIT;
