-- Events of a tenant's job from number `$3` on. A gap that began before `$3` and reaches it comes too.
-- First a row without a number, where the job exists: a job without such events is told from no job at all.
SELECT NULL AS seq FROM jobs WHERE id = $1 AND tenant = $2;

SELECT seq, attempt, time, kind, body
FROM events
WHERE job = $1 AND EXISTS (SELECT 1 FROM jobs WHERE id = $1 AND tenant = $2)
  AND seq >= coalesce(
    (SELECT before.seq FROM (
       SELECT seq, gap_to FROM events WHERE job = $1 AND seq < $3 ORDER BY seq DESC LIMIT 1
     ) AS before WHERE before.gap_to >= $3), $3)
ORDER BY seq LIMIT $4;
