-- Bytes stored for a tenant.
SELECT coalesce(sum(size), 0) AS bytes FROM files WHERE tenant = $1;
