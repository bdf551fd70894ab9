-- Appends events of the current attempt. `$4` lists them as [kind, offset from 1, length] into the bytes `$5`.
-- No row comes back where the attempt is not the current one.
BEGIN IMMEDIATE;

INSERT INTO events (job, seq, attempt, time, kind, body)
SELECT j.id, j.last_seq + 1 + e.key, $2, $3, e.value ->> 0, substr($5, e.value ->> 1, e.value ->> 2)
FROM jobs AS j, json_each($4) AS e
WHERE j.id = $1 AND j.attempts = $2 AND j.state IN ('running', 'cancelling');

UPDATE jobs SET last_seq = last_seq + json_array_length($4)
WHERE id = $1 AND attempts = $2 AND state IN ('running', 'cancelling')
RETURNING last_seq;

COMMIT;
