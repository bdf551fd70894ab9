-- The earliest end of a lease or of a queue time-out.
SELECT min(at) AS at FROM (
  SELECT min(lease_until) AS at FROM jobs WHERE state IN ('running', 'cancelling')
  UNION ALL
  SELECT min(expires) FROM jobs WHERE state = 'queued'
);
