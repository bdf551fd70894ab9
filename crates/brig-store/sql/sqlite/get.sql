-- One job of a tenant.
SELECT jobs.*, specs.spec, results.result
FROM jobs JOIN specs ON specs.job = jobs.id LEFT JOIN results ON results.job = jobs.id
WHERE jobs.id = $1 AND jobs.tenant = $2;
