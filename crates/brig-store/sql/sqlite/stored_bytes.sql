-- Bytes stored for a tenant, each file with an overhead.
SELECT coalesce(sum(size + $2), 0) AS bytes FROM files WHERE tenant = $1;
