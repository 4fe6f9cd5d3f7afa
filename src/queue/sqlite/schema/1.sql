-- Version 1. Never changed: a file of this version is brought up to date by the next ones.

-- Increased by every daemon that opens the store; a running job carries the epoch of its daemon.
CREATE TABLE lease(epoch INTEGER NOT NULL) STRICT;
INSERT INTO lease VALUES (0);

-- AUTOINCREMENT: an id is never used again, also when the newest job was deleted.
CREATE TABLE job(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  state TEXT NOT NULL
    CHECK (state IN ('queued', 'running', 'completed', 'failed', 'cancelled', 'expired')),
  endpoint TEXT NOT NULL,
  priority INTEGER NOT NULL,
  -- The 64 bits of an unsigned number.
  seed INTEGER NOT NULL,
  -- As resolved at submit; NULL for a job accepted before that was possible.
  max_tokens INTEGER,
  uid INTEGER NOT NULL,
  attached INTEGER NOT NULL CHECK (attached IN (0, 1)),
  idempotency_key TEXT,
  request_blake3 BLOB NOT NULL,
  metadata TEXT,
  attempts INTEGER NOT NULL DEFAULT 0,
  -- Daemons that ended without a word while this job was running.
  crashes INTEGER NOT NULL DEFAULT 0,
  lease_epoch INTEGER,
  created_at_ms INTEGER NOT NULL,
  started_at_ms INTEGER,
  finished_at_ms INTEGER,
  prompt_tokens INTEGER,
  completion_tokens INTEGER,
  error TEXT,
  CHECK ((state = 'running') = (lease_epoch IS NOT NULL)),
  CHECK ((state IN ('queued', 'running')) = (finished_at_ms IS NULL))
) STRICT;

-- Bodies stand apart, so that a change of state does not copy them.
CREATE TABLE request(
  job_id INTEGER PRIMARY KEY REFERENCES job(id) ON DELETE CASCADE,
  body BLOB NOT NULL
) STRICT;

CREATE TABLE result(
  job_id INTEGER PRIMARY KEY REFERENCES job(id) ON DELETE CASCADE,
  body BLOB NOT NULL
) STRICT;

CREATE UNIQUE INDEX job_key ON job(uid, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX job_ready ON job(priority DESC, id) WHERE state = 'queued';
CREATE INDEX job_running ON job(id) WHERE state = 'running';
CREATE INDEX job_ended ON job(attached, finished_at_ms) WHERE finished_at_ms IS NOT NULL;
CREATE INDEX job_state ON job(state, id);

-- Jobs by state, kept by triggers: counting a million rows for each submit would be too slow.
CREATE TABLE tally(state TEXT PRIMARY KEY, jobs INTEGER NOT NULL CHECK (jobs >= 0)) STRICT;
INSERT INTO tally VALUES
  ('queued', 0), ('running', 0), ('completed', 0), ('failed', 0), ('cancelled', 0), ('expired', 0);

CREATE TRIGGER job_inserted AFTER INSERT ON job BEGIN
  UPDATE tally SET jobs = jobs + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER job_moved AFTER UPDATE OF state ON job WHEN OLD.state <> NEW.state BEGIN
  UPDATE tally SET jobs = jobs - 1 WHERE state = OLD.state;
  UPDATE tally SET jobs = jobs + 1 WHERE state = NEW.state;
END;
CREATE TRIGGER job_deleted AFTER DELETE ON job BEGIN
  UPDATE tally SET jobs = jobs - 1 WHERE state = OLD.state;
END;

-- The last line of defence; the statements never try.
CREATE TRIGGER job_end_is_final BEFORE UPDATE OF state ON job
WHEN OLD.state NOT IN ('queued', 'running') BEGIN
  SELECT RAISE(ABORT, 'a job that has ended never changes its state');
END;
