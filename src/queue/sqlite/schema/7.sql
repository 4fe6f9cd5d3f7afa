-- Version 7: the streams of completed jobs can be told again, and lists of one user's jobs in one state.

-- Which piece of the result came with which event. NULL: the job ended before version 7.
ALTER TABLE result ADD COLUMN outline BLOB;

CREATE INDEX job_of_user_in_state ON job(uid, state, id);
