-- Jobs of a tenant before id `$2`, newest first. `$3` lists the wanted states (NULL: all), `$4` the labels that must
-- all be there, `$5` who submitted (NULL: anyone).
SELECT jobs.*, specs.spec
FROM jobs JOIN specs ON specs.job = jobs.id
WHERE jobs.tenant = $1 AND jobs.id < $2
  AND ($3 IS NULL OR jobs.state IN (SELECT value FROM json_each($3)))
  AND ($5 IS NULL OR jobs.created_by = $5)
  AND NOT EXISTS (
    SELECT 1 FROM json_each($4) AS wanted
    WHERE NOT EXISTS (SELECT 1 FROM json_each(jobs.labels) AS has
                      WHERE has.key = wanted.key AND has.value = wanted.value))
ORDER BY jobs.id DESC LIMIT $6;
