-- The first complaint about the file, or `ok`.
PRAGMA integrity_check (1);
