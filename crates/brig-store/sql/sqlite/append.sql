-- Appends events of the current attempt; a trigger keeps the last number. `$4` lists them as [kind, offset from 1,
-- length] into the bytes `$5`. No row comes back where the attempt is not the current one.
INSERT INTO events (job, seq, attempt, time, kind, body)
SELECT j.id, j.last_seq + 1 + e.key, $2, $3, e.value ->> 0, substr($5, e.value ->> 1, e.value ->> 2)
FROM jobs AS j, json_each($4) AS e
WHERE j.id = $1 AND j.attempts = $2 AND j.state IN ('running', 'cancelling')
RETURNING seq AS last_seq;
