-- One job of a tenant.
SELECT jobs.*, specs.spec
FROM jobs JOIN specs ON specs.job = jobs.id
WHERE jobs.id = $1 AND jobs.tenant = $2;
