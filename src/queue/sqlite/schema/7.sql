-- Version 7: the streams of completed jobs can be told again.

-- Which piece of the result came with which event. NULL: the job ended before version 7.
ALTER TABLE result ADD COLUMN outline BLOB;
