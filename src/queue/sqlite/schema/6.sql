-- Version 6: files that are kept for a time.

ALTER TABLE file ADD COLUMN expires_at_ms INTEGER;
CREATE INDEX file_expiry ON file(expires_at_ms) WHERE expires_at_ms IS NOT NULL;
-- Seconds that the files with the answers of a batch are kept; NULL: until somebody deletes them.
ALTER TABLE batch ADD COLUMN output_kept_s INTEGER;
