-- Version 4: a queue may be paused, and stays so over restarts.

ALTER TABLE lease ADD COLUMN paused INTEGER NOT NULL DEFAULT 0 CHECK (paused IN (0, 1));
