-- Version 2: times before and after which a job does not run, and crashes while it ran alone.

ALTER TABLE job ADD COLUMN not_before_ms INTEGER;
ALTER TABLE job ADD COLUMN deadline_ms INTEGER;
-- Waits for not_before_ms, and stands outside of the order until then.
ALTER TABLE job ADD COLUMN delayed INTEGER NOT NULL DEFAULT 0 CHECK (delayed IN (0, 1));
-- The last claim was made while nothing else ran, and nothing was claimed beside it.
ALTER TABLE job ADD COLUMN alone INTEGER NOT NULL DEFAULT 0 CHECK (alone IN (0, 1));
ALTER TABLE job ADD COLUMN solo_crashes INTEGER NOT NULL DEFAULT 0;

DROP INDEX job_ready;
CREATE INDEX job_ready ON job(priority DESC, id) WHERE state = 'queued' AND delayed = 0;
CREATE INDEX job_delayed ON job(not_before_ms) WHERE state = 'queued' AND delayed = 1;
CREATE INDEX job_deadline ON job(deadline_ms) WHERE deadline_ms IS NOT NULL AND finished_at_ms IS NULL;
