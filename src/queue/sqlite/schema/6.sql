-- Version 6: files that are kept for a time, runs of jobs, and jobs by user.

ALTER TABLE file ADD COLUMN expires_at_ms INTEGER;
CREATE INDEX file_expiry ON file(expires_at_ms) WHERE expires_at_ms IS NOT NULL;
-- Seconds that the files with the answers of a batch are kept; NULL: until somebody deletes them.
ALTER TABLE batch ADD COLUMN output_kept_s INTEGER;

-- How often it was claimed. What it generated in one run never goes on behind what it generated in another.
ALTER TABLE job ADD COLUMN runs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE transcript ADD COLUMN run INTEGER NOT NULL DEFAULT 0;

CREATE INDEX job_of_user ON job(uid, id);

-- A request with the same key of the same user finds this batch again.
ALTER TABLE batch ADD COLUMN idempotency_key TEXT;
CREATE UNIQUE INDEX batch_key ON batch(uid, idempotency_key) WHERE idempotency_key IS NOT NULL;

-- The field of the request that is to blame, where one is refused.
ALTER TABLE job ADD COLUMN error_param TEXT;

-- Of the input. Until the batch ends they count once more in the share of its user: its jobs are such a copy.
ALTER TABLE batch ADD COLUMN input_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE batch SET input_bytes = coalesce((SELECT bytes FROM file WHERE id = batch.input_file), 0);
INSERT INTO share SELECT uid, 0, sum(input_bytes) FROM batch WHERE ended_at_ms IS NULL GROUP BY uid
  ON CONFLICT(uid) DO UPDATE SET bytes = bytes + excluded.bytes;
CREATE TRIGGER share_of_batch AFTER INSERT ON batch BEGIN
  INSERT INTO share VALUES (NEW.uid, 0, NEW.input_bytes)
    ON CONFLICT(uid) DO UPDATE SET bytes = bytes + excluded.bytes;
END;
CREATE TRIGGER share_of_ended_batch AFTER UPDATE OF ended_at_ms ON batch
WHEN OLD.ended_at_ms IS NULL AND NEW.ended_at_ms IS NOT NULL BEGIN
  UPDATE share SET bytes = bytes - NEW.input_bytes WHERE uid = NEW.uid;
END;

-- A request that was cancelled by itself counts as one that failed.
UPDATE batch SET failed = failed + (SELECT count(*) FROM job WHERE job.batch = batch.id AND job.state = 'cancelled')
WHERE state IN ('in_progress', 'finalizing');
DROP TRIGGER batch_line_ended;
CREATE TRIGGER batch_line_ended AFTER UPDATE OF state ON job
WHEN NEW.batch IS NOT NULL AND OLD.finished_at_ms IS NULL AND NEW.finished_at_ms IS NOT NULL BEGIN
  UPDATE batch SET ended = ended + 1,
                   completed = completed + (NEW.state = 'completed'),
                   failed = failed + (NEW.state = 'failed'
                                      OR (NEW.state = 'cancelled' AND state NOT IN ('cancelling', 'cancelled'))),
                   prompt_tokens = prompt_tokens + coalesce(NEW.prompt_tokens, 0),
                   completion_tokens = completion_tokens + coalesce(NEW.completion_tokens, 0)
  WHERE id = NEW.batch;
END;
