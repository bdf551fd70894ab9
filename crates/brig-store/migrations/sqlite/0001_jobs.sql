-- Jobs, their events, idempotency keys and the index of stored files.
--
-- Every table holds the tenant or belongs to a row that does. The words of states and kinds are the ones of
-- `JobState::word`, `Verdict::kind` and `Failure::kind`; a test compares them with the lists below.

-- One row per tenant that ever submitted. The counters are kept by the triggers at the end of this file, so that
-- the queue limit and the fair choice of the next job need no counting.
CREATE TABLE tenants (
  tenant  TEXT PRIMARY KEY,
  queued  INTEGER NOT NULL DEFAULT 0 CHECK (queued >= 0),
  running INTEGER NOT NULL DEFAULT 0 CHECK (running >= 0),
  -- Rises with every claim: the smallest is the tenant that was served longest ago.
  served  INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- No index on the counters: they change with every job, and reading all tenants costs less than keeping one in order.

-- Small rows on purpose while the job lives: they are rewritten at every change. What runs has a table of its own.
CREATE TABLE jobs (
  id               BLOB PRIMARY KEY CHECK (length(id) = 16),
  tenant           TEXT NOT NULL,
  created_by       TEXT NOT NULL,
  created          INTEGER NOT NULL,
  labels           TEXT NOT NULL CHECK (json_type(labels) = 'object'),
  priority         INTEGER NOT NULL,
  durability       TEXT NOT NULL CHECK (durability IN ('process', 'power_loss')),
  max_attempts     INTEGER NOT NULL CHECK (max_attempts >= 1),
  queue_timeout_ms INTEGER NOT NULL CHECK (queue_timeout_ms > 0),

  state            TEXT NOT NULL CHECK (state IN ('queued', 'running', 'cancelling', 'finished', 'failed', 'cancelled')),
  -- Attempts started so far; of a running job the current one: the fencing token.
  attempts         INTEGER NOT NULL CHECK (attempts BETWEEN 0 AND max_attempts),
  not_before       INTEGER,
  expires          INTEGER,
  worker           BLOB CHECK (worker IS NULL OR length(worker) = 16),
  lease_until      INTEGER,
  started          INTEGER,
  ended            INTEGER,
  kind             TEXT CHECK (kind IN (
    'exited', 'signalled', 'timed_out', 'out_of_memory', 'output_limit', 'disk_limit', 'refused_call', 'cancelled',
    'setup_error', 'interrupted', 'internal_error', 'queue_expired')),
  last_seq         INTEGER NOT NULL CHECK (last_seq >= 1),
  -- How it ended, as JSON: written once, with the last change of the row.
  result           TEXT,

  CHECK ((state = 'queued') = (not_before IS NOT NULL)),
  CHECK ((state = 'queued') = (expires IS NOT NULL)),
  CHECK ((state IN ('running', 'cancelling')) = (worker IS NOT NULL)),
  CHECK ((state IN ('running', 'cancelling')) = (lease_until IS NOT NULL)),
  CHECK (state NOT IN ('running', 'cancelling') OR (attempts >= 1 AND started IS NOT NULL)),
  CHECK ((state IN ('finished', 'failed', 'cancelled')) = (ended IS NOT NULL)),
  CHECK ((ended IS NULL) = (kind IS NULL)),
  CHECK ((ended IS NULL) = (result IS NULL)),
  -- A job that ran has been claimed.
  CHECK (state <> 'finished' OR attempts >= 1)
) STRICT, WITHOUT ROWID;

CREATE INDEX jobs_queue ON jobs (tenant, priority DESC, id) WHERE state = 'queued';
-- When something must be done about a job that has not ended: its lease or its queue time-out ends.
CREATE INDEX jobs_due ON jobs (coalesce(lease_until, expires)) WHERE ended IS NULL;
CREATE INDEX jobs_ended ON jobs (ended, id) WHERE ended IS NOT NULL;
-- Ids are uuid v7, so their order is the order of submission.
CREATE INDEX jobs_of_tenant ON jobs (tenant, id);

-- What runs, as JSON without secrets.
CREATE TABLE specs (
  job  BLOB PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
  spec TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
  job     BLOB NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  seq     INTEGER NOT NULL CHECK (seq >= 1),
  attempt INTEGER NOT NULL CHECK (attempt >= 0),
  time    INTEGER NOT NULL,
  kind    TEXT NOT NULL CHECK (kind IN (
    'queued', 'started', 'stdout', 'stderr', 'requeued', 'cancelling', 'ended', 'gap')),
  -- Of a gap that the store made: the last number that it stands for.
  gap_to  INTEGER CHECK (gap_to IS NULL OR (kind = 'gap' AND gap_to >= seq)),
  -- The raw bytes of `stdout` and `stderr`; nothing for `queued`; JSON for every other kind.
  body    BLOB NOT NULL,
  PRIMARY KEY (job, seq)
) STRICT, WITHOUT ROWID;

-- No reference to the job: a key outlives a job that retention removed.
CREATE TABLE idempotency (
  tenant  TEXT NOT NULL,
  method  TEXT NOT NULL,
  key     TEXT NOT NULL,
  digest  BLOB NOT NULL CHECK (length(digest) = 32),
  job     BLOB NOT NULL CHECK (length(job) = 16),
  created INTEGER NOT NULL,
  PRIMARY KEY (tenant, method, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_by_age ON idempotency (created);

CREATE TABLE files (
  id      BLOB PRIMARY KEY CHECK (length(id) = 16),
  tenant  TEXT NOT NULL,
  name    TEXT NOT NULL,
  size    INTEGER NOT NULL CHECK (size >= 0),
  sha256  BLOB NOT NULL CHECK (length(sha256) = 32),
  created INTEGER NOT NULL,
  -- The job that produced it. No reference: `purge` reports such files itself, so that their bytes go too.
  job     BLOB CHECK (job IS NULL OR length(job) = 16),
  UNIQUE (tenant, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX files_of_job ON files (job) WHERE job IS NOT NULL;
CREATE INDEX files_by_age ON files (created);

-- Which stored files a job's spec names. The reference includes the tenant: no job can name another tenant's file.
CREATE TABLE job_files (
  job    BLOB NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
  tenant TEXT NOT NULL,
  file   BLOB NOT NULL,
  PRIMARY KEY (job, file),
  FOREIGN KEY (tenant, file) REFERENCES files (tenant, id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX job_files_by_file ON job_files (tenant, file);

CREATE TRIGGER a_number_is_used_once AFTER INSERT ON events BEGIN
  UPDATE jobs SET last_seq = new.seq WHERE id = new.job AND last_seq < new.seq;
END;

CREATE TRIGGER a_new_job_is_told AFTER INSERT ON jobs BEGIN
  INSERT INTO events (job, seq, attempt, time, kind, body) VALUES (new.id, 1, 0, new.created, 'queued', x'');
END;

CREATE TRIGGER a_new_job_is_counted AFTER INSERT ON jobs BEGIN
  INSERT INTO tenants (tenant, queued) VALUES (new.tenant, 1)
  ON CONFLICT (tenant) DO UPDATE SET queued = queued + 1;
END;

CREATE TRIGGER a_change_of_state_is_counted AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
  UPDATE tenants SET
    queued = queued + (new.state = 'queued') - (old.state = 'queued'),
    running = running + (new.state IN ('running', 'cancelling')) - (old.state IN ('running', 'cancelling')),
    served = CASE WHEN new.state = 'running' THEN (SELECT max(served) FROM tenants) + 1 ELSE served END
  WHERE tenant = new.tenant;
END;
