-- Like append.sql; then the events from `$6` to `$7` give way to one gap, `$8`, which takes the number of the first.
BEGIN IMMEDIATE;

INSERT INTO events (job, seq, attempt, time, kind, body)
SELECT j.id, j.last_seq + 1 + e.key, $2, $3, e.value ->> 0, substr($5, e.value ->> 1, e.value ->> 2)
FROM jobs AS j, json_each($4) AS e
WHERE j.id = $1 AND j.attempts = $2 AND j.state IN ('running', 'cancelling')
RETURNING seq AS last_seq;

DELETE FROM events
WHERE job = $1 AND seq BETWEEN $6 AND $7
  AND EXISTS (SELECT 1 FROM jobs AS j WHERE j.id = $1 AND j.attempts = $2 AND j.state IN ('running', 'cancelling')
              AND j.last_seq >= $7);

INSERT INTO events (job, seq, attempt, time, kind, gap_to, body)
SELECT j.id, $6, $2, $3, 'gap', $7, $8 FROM jobs AS j
WHERE j.id = $1 AND j.attempts = $2 AND j.state IN ('running', 'cancelling') AND j.last_seq >= $7;

COMMIT;
