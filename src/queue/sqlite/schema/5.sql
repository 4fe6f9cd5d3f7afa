-- Version 5: what jobs have generated, what each user has in the queue, queues that are drained, and
-- the spool directory.

-- Parts in order, from 0. A running job goes on behind them after a crash; those of a completed one are kept where
-- equal requests may be answered with them.
CREATE TABLE transcript(
  job_id INTEGER NOT NULL REFERENCES job(id) ON DELETE CASCADE,
  part INTEGER NOT NULL,
  -- Of everything that the output depends on.
  fingerprint BLOB NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY(job_id, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX transcript_fingerprint ON transcript(fingerprint, job_id) WHERE part = 0;
CREATE TRIGGER transcript_ended AFTER UPDATE OF state ON job
WHEN NEW.state IN ('failed', 'cancelled', 'expired') BEGIN
  DELETE FROM transcript WHERE job_id = NEW.id;
END;

-- No new jobs and batches are taken in; not together with paused.
ALTER TABLE lease ADD COLUMN draining INTEGER NOT NULL DEFAULT 0 CHECK (draining IN (0, 1));

-- Files that were dropped into the spool directory. The same file never becomes two batches.
CREATE TABLE spooled(
  -- Of the file, whatever it is called.
  identity TEXT PRIMARY KEY,
  -- As it was called when it was dropped, without its ending.
  name TEXT NOT NULL,
  batch INTEGER NOT NULL REFERENCES batch(id),
  -- The results are in the directory.
  delivered INTEGER NOT NULL DEFAULT 0 CHECK (delivered IN (0, 1))
) STRICT;
CREATE INDEX spooled_undelivered ON spooled(batch) WHERE delivered = 0;

-- Of the request body.
ALTER TABLE job ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
UPDATE job SET bytes = (SELECT length(body) FROM request WHERE job_id = job.id) WHERE finished_at_ms IS NULL;

-- By user: unfinished jobs that are no requests of batches, and the bytes of these and of all files. Kept by triggers.
CREATE TABLE share(
  uid INTEGER PRIMARY KEY,
  jobs INTEGER NOT NULL CHECK (jobs >= 0),
  bytes INTEGER NOT NULL CHECK (bytes >= 0)
) STRICT;
INSERT INTO share SELECT uid, sum(jobs), sum(bytes) FROM (
  SELECT uid, 1 AS jobs, bytes FROM job WHERE finished_at_ms IS NULL AND batch IS NULL
  UNION ALL SELECT uid, 0, bytes FROM file) GROUP BY uid;

CREATE TRIGGER share_of_job AFTER INSERT ON job WHEN NEW.batch IS NULL AND NEW.finished_at_ms IS NULL BEGIN
  INSERT INTO share VALUES (NEW.uid, 1, NEW.bytes)
    ON CONFLICT(uid) DO UPDATE SET jobs = jobs + 1, bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER share_of_ended_job AFTER UPDATE OF state ON job
WHEN OLD.finished_at_ms IS NULL AND NEW.finished_at_ms IS NOT NULL AND NEW.batch IS NULL BEGIN
  UPDATE share SET jobs = jobs - 1, bytes = bytes - NEW.bytes WHERE uid = NEW.uid;
END;
CREATE TRIGGER share_of_file AFTER INSERT ON file BEGIN
  INSERT INTO share VALUES (NEW.uid, 0, NEW.bytes)
    ON CONFLICT(uid) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER share_of_deleted_file AFTER DELETE ON file BEGIN
  UPDATE share SET bytes = bytes - OLD.bytes WHERE uid = OLD.uid;
END;
