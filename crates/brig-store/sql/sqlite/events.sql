-- Events of a tenant's job from number `$3` on. A gap that began before `$3` and reaches it comes too. A job
-- without such events gives one row without an event, so that it is told from no job at all.
SELECT e.seq, e.attempt, e.time, e.kind, e.gap_to, e.body
FROM jobs AS j LEFT JOIN events AS e ON e.job = j.id AND e.seq >= coalesce(
  (SELECT before.seq FROM (
     SELECT seq, gap_to FROM events WHERE job = $1 AND seq < $3 ORDER BY seq DESC LIMIT 1
   ) AS before WHERE before.gap_to >= $3), $3)
WHERE j.id = $1 AND j.tenant = $2
ORDER BY e.seq LIMIT $4;
