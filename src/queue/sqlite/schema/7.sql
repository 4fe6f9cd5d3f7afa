-- Version 7: the streams of completed jobs can be told again, faults of ours are counted, lists of one user's jobs in one
-- state have an index, and open batches count as jobs.

-- Which piece of the result came with which event. NULL: the job ended before version 7.
ALTER TABLE result ADD COLUMN outline BLOB;

CREATE INDEX job_of_user_in_state ON job(uid, state, id);

-- How often it failed through a fault of ours, and was put back.
ALTER TABLE job ADD COLUMN faults INTEGER NOT NULL DEFAULT 0;
-- It is delayed until then, and not until not_before_ms.
ALTER TABLE job ADD COLUMN retry_at_ms INTEGER;
DROP INDEX job_delayed;
CREATE INDEX job_delayed ON job(not_before_ms) WHERE state = 'queued' AND delayed = 1 AND retry_at_ms IS NULL;
CREATE INDEX job_retry ON job(retry_at_ms) WHERE state = 'queued' AND retry_at_ms IS NOT NULL;

-- What answers others is kept as long as a detached job, and is one.
UPDATE job SET attached = 0
WHERE attached = 1 AND state = 'completed' AND EXISTS (SELECT 1 FROM transcript WHERE job_id = job.id);

-- Until it ends a batch counts as one job of its user.
INSERT INTO share SELECT uid, count(*), 0 FROM batch WHERE ended_at_ms IS NULL GROUP BY uid
  ON CONFLICT(uid) DO UPDATE SET jobs = jobs + excluded.jobs;
DROP TRIGGER share_of_batch;
CREATE TRIGGER share_of_batch AFTER INSERT ON batch BEGIN
  INSERT INTO share VALUES (NEW.uid, 1, NEW.input_bytes)
    ON CONFLICT(uid) DO UPDATE SET jobs = jobs + 1, bytes = bytes + excluded.bytes;
END;
DROP TRIGGER share_of_ended_batch;
CREATE TRIGGER share_of_ended_batch AFTER UPDATE OF ended_at_ms ON batch
WHEN OLD.ended_at_ms IS NULL AND NEW.ended_at_ms IS NOT NULL BEGIN
  UPDATE share SET jobs = jobs - 1, bytes = bytes - NEW.input_bytes WHERE uid = NEW.uid;
END;
