-- A running job is asked to stop. No row comes back where the guard did not hold.
BEGIN IMMEDIATE;

INSERT INTO events (job, seq, attempt, time, kind, body)
SELECT j.id, j.last_seq + 1 + e.key, $2, $3, e.value ->> 0, substr($5, e.value ->> 1, e.value ->> 2)
FROM jobs AS j, json_each($4) AS e
WHERE j.id = $1 AND j.attempts = $2 AND j.state = 'running';

UPDATE jobs SET state = 'cancelling'
WHERE id = $1 AND attempts = $2 AND state = 'running'
RETURNING last_seq;

COMMIT;
