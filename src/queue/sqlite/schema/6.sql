-- Version 6: files that are kept for a time, runs of jobs, and jobs by user.

ALTER TABLE file ADD COLUMN expires_at_ms INTEGER;
CREATE INDEX file_expiry ON file(expires_at_ms) WHERE expires_at_ms IS NOT NULL;
-- Seconds that the files with the answers of a batch are kept; NULL: until somebody deletes them.
ALTER TABLE batch ADD COLUMN output_kept_s INTEGER;

-- How often it was claimed. What it generated in one run never goes on behind what it generated in another.
ALTER TABLE job ADD COLUMN runs INTEGER NOT NULL DEFAULT 0;
ALTER TABLE transcript ADD COLUMN run INTEGER NOT NULL DEFAULT 0;

CREATE INDEX job_of_user ON job(uid, id);
