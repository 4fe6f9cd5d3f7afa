-- Version 3: files, and batches of jobs made of their lines.

CREATE TABLE file(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uid INTEGER NOT NULL,
  purpose TEXT NOT NULL,
  -- As the user calls it, and as it is called in the directory of files.
  name TEXT NOT NULL,
  stored_as TEXT NOT NULL UNIQUE,
  bytes INTEGER NOT NULL,
  created_at_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE batch(
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  uid INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired',
                                       'cancelling', 'cancelled')),
  endpoint TEXT NOT NULL,
  input_file INTEGER NOT NULL,
  completion_window TEXT NOT NULL,
  priority INTEGER NOT NULL,
  metadata TEXT,
  created_at_ms INTEGER NOT NULL,
  deadline_ms INTEGER NOT NULL,
  in_progress_at_ms INTEGER,
  finalizing_at_ms INTEGER,
  cancelling_at_ms INTEGER,
  ended_at_ms INTEGER,
  -- What is wrong with the lines of the file, as JSON.
  errors TEXT,
  output_file INTEGER,
  error_file INTEGER,
  -- Lines of the file, those that have become jobs, and of these: at their end, and how.
  total INTEGER NOT NULL DEFAULT 0,
  expanded INTEGER NOT NULL DEFAULT 0,
  ended INTEGER NOT NULL DEFAULT 0,
  completed INTEGER NOT NULL DEFAULT 0,
  failed INTEGER NOT NULL DEFAULT 0,
  prompt_tokens INTEGER NOT NULL DEFAULT 0,
  completion_tokens INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX batch_open ON batch(id) WHERE ended_at_ms IS NULL;

ALTER TABLE job ADD COLUMN batch INTEGER REFERENCES batch(id);
-- Its place among the requests of the file, from 0.
ALTER TABLE job ADD COLUMN line INTEGER;
ALTER TABLE job ADD COLUMN custom_id TEXT;
-- The request was to blame for the failure, not the engine.
ALTER TABLE job ADD COLUMN refused INTEGER NOT NULL DEFAULT 0 CHECK (refused IN (0, 1));
CREATE UNIQUE INDEX job_line ON job(batch, line) WHERE batch IS NOT NULL;
CREATE INDEX job_of_open_batch ON job(batch, id) WHERE batch IS NOT NULL AND finished_at_ms IS NULL;

CREATE TRIGGER batch_line_ended AFTER UPDATE OF state ON job
WHEN NEW.batch IS NOT NULL AND OLD.finished_at_ms IS NULL AND NEW.finished_at_ms IS NOT NULL BEGIN
  UPDATE batch SET ended = ended + 1,
                   completed = completed + (NEW.state = 'completed'),
                   failed = failed + (NEW.state = 'failed'),
                   prompt_tokens = prompt_tokens + coalesce(NEW.prompt_tokens, 0),
                   completion_tokens = completion_tokens + coalesce(NEW.completion_tokens, 0)
  WHERE id = NEW.batch;
END;
