-- One file of a tenant.
SELECT id, tenant, name, size, sha256, created, job FROM files WHERE id = $1 AND tenant = $2;
