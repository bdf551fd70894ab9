-- Ends a job from state `$4` or `$5`: its last events, then its state and result. Both are guarded alike and the
-- state changes last, so that either both apply or none. No row comes back where none did.
BEGIN IMMEDIATE;

INSERT INTO events (job, seq, attempt, time, kind, body)
SELECT j.id, j.last_seq + 1 + e.key, $2, $3, e.value ->> 0, substr($10, e.value ->> 1, e.value ->> 2)
FROM jobs AS j, json_each($9) AS e
WHERE j.id = $1 AND j.attempts = $2 AND j.state IN ($4, $5);

UPDATE jobs
SET state = $6, kind = $7, result = $8, ended = $3, worker = NULL, lease_until = NULL, not_before = NULL, expires = NULL
WHERE id = $1 AND attempts = $2 AND state IN ($4, $5)
RETURNING last_seq;

COMMIT;
