-- Files of a tenant, newest first; of job `$2` unless it is NULL.
SELECT id, tenant, name, size, sha256, created, job FROM files
WHERE tenant = $1 AND ($2 IS NULL OR job = $2) ORDER BY id DESC LIMIT $3;
