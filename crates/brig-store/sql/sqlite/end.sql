-- Ends a job from state `$4` or `$5`: its last events, its result, its state. The guard comes first in every
-- statement and the state changes last, so that either all of them apply or none. No row comes back where none did.
BEGIN IMMEDIATE;

INSERT INTO events (job, seq, attempt, time, kind, body)
SELECT j.id, j.last_seq + 1 + e.key, $2, $3, e.value ->> 0, substr($10, e.value ->> 1, e.value ->> 2)
FROM jobs AS j, json_each($9) AS e
WHERE j.id = $1 AND j.attempts = $2 AND j.state IN ($4, $5);

INSERT INTO results (job, result) SELECT id, $8 FROM jobs WHERE id = $1 AND attempts = $2 AND state IN ($4, $5);

UPDATE jobs
SET state = $6, kind = $7, ended = $3, worker = NULL, lease_until = NULL, not_before = NULL, expires = NULL,
    last_seq = last_seq + json_array_length($9)
WHERE id = $1 AND attempts = $2 AND state IN ($4, $5)
RETURNING last_seq;

COMMIT;
