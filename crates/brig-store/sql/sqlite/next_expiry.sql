-- The earliest end of a lease or of a queue time-out.
SELECT min(coalesce(lease_until, expires)) AS at FROM jobs WHERE ended IS NULL;
