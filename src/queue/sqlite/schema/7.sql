-- Version 7: the streams of completed jobs can be told again, and lists of one user's jobs in one state.

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
