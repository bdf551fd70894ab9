-- Remembers a complete file.
INSERT INTO files (id, tenant, name, size, sha256, created, job) VALUES ($1, $2, $3, $4, $5, $6, $7);
