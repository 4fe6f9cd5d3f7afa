//! Whether a database holds what the queue promises. Reads only.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::queue::Error;

use super::fault::Faults;
use super::schema;

/// What must give no row. Each row is the rest of its sentence.
const RULES: [(&str, &str); 12] = [
    (
        "the counts of jobs by state are wrong:",
        "SELECT state || ': ' || jobs || ', but there are ' || found FROM
           (SELECT state, jobs, (SELECT count(*) FROM job WHERE job.state = tally.state) AS found FROM tally)
         WHERE jobs <> found",
    ),
    (
        "the share of a user is wrong:",
        "WITH found AS (SELECT uid, sum(jobs) AS jobs, sum(bytes) AS bytes FROM (
           SELECT uid, 1 AS jobs, bytes FROM job WHERE finished_at_ms IS NULL AND batch IS NULL
           UNION ALL SELECT uid, 0, bytes FROM file
           UNION ALL SELECT uid, 1, input_bytes FROM batch WHERE ended_at_ms IS NULL) GROUP BY uid)
         SELECT 'user ' || uid FROM (
           SELECT share.uid AS uid, share.jobs AS jobs, share.bytes AS bytes,
                  coalesce(found.jobs, 0) AS found_jobs, coalesce(found.bytes, 0) AS found_bytes
           FROM share LEFT JOIN found ON found.uid = share.uid
           UNION ALL SELECT uid, 0, 0, jobs, bytes FROM found WHERE uid NOT IN (SELECT uid FROM share))
         WHERE jobs <> found_jobs OR bytes <> found_bytes",
    ),
    (
        "a job has no request:",
        "SELECT 'job_' || id FROM job WHERE NOT EXISTS (SELECT 1 FROM request WHERE job_id = id)",
    ),
    (
        "a completed job has no result:",
        "SELECT 'job_' || id FROM job WHERE state = 'completed'
         AND NOT EXISTS (SELECT 1 FROM result WHERE job_id = id)",
    ),
    (
        "a job that has not completed has a result:",
        "SELECT 'job_' || id FROM job JOIN result ON job_id = id WHERE state <> 'completed'",
    ),
    (
        "a job that failed does not say why:",
        "SELECT 'job_' || id FROM job WHERE state = 'failed' AND error IS NULL",
    ),
    (
        "a job that has ended without a result has a transcript:",
        "SELECT DISTINCT 'job_' || id FROM job JOIN transcript ON job_id = id
         WHERE state IN ('failed', 'cancelled', 'expired')",
    ),
    (
        "a job runs under a daemon that never was:",
        "SELECT 'job_' || id FROM job WHERE state = 'running' AND lease_epoch > (SELECT epoch FROM lease)",
    ),
    (
        "a batch does not have the jobs that it counts:",
        "SELECT 'batch_' || id FROM batch WHERE ended_at_ms IS NULL AND (
           expanded <> (SELECT count(*) FROM job WHERE batch = batch.id AND batch IS NOT NULL)
           OR ended <> (SELECT count(*) FROM job WHERE batch = batch.id AND batch IS NOT NULL
                        AND finished_at_ms IS NOT NULL))",
    ),
    (
        "a batch that waits has no input:",
        "SELECT 'batch_' || id FROM batch WHERE ended_at_ms IS NULL
         AND input_file NOT IN (SELECT id FROM file)",
    ),
    (
        "a batch has ended, and a job of it has not:",
        "SELECT 'batch_' || batch.id || ', job_' || job.id FROM batch JOIN job ON job.batch = batch.id
         WHERE ended_at_ms IS NOT NULL AND finished_at_ms IS NULL",
    ),
    (
        "there is not one row that says which daemon it is:",
        "SELECT count(*) || ' rows' FROM lease HAVING count(*) <> 1",
    ),
];
/// Sentences of one kind; the rest are like them.
const TOLD: usize = 10;

/// What is wrong with it, and the files that it knows with their sizes.
pub(in crate::queue) struct Checked {
    pub(in crate::queue) problems: Vec<String>,
    pub(in crate::queue) files: BTreeMap<String, u64>,
}

/// Looks at the database in `file`. An error means that it could not be looked at. While `at_rest`, nobody writes to
/// it and all of it is in that file: then SQLite needs no others beside it, and so no permission to make them.
pub(in crate::queue) fn check_database(file: &Path, at_rest: bool) -> Result<Checked, Error> {
    let faults = Faults::new(file);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match at_rest {
        true => {
            let uri = uri(file).map_err(|error| faults.store(error.to_string()))?;
            let flags = flags | OpenFlags::SQLITE_OPEN_URI;
            Connection::open_with_flags(format!("{uri}?immutable=1"), flags)
        }
        false => Connection::open_with_flags(file, flags),
    };
    let db = opened.map_err(|e| faults.of(e))?;
    schema::check_current(&db, &faults)?;
    let look = || -> Result<Checked, rusqlite::Error> {
        // One view of everything.
        let view = db.unchecked_transaction()?;
        let mut problems = rows(&view, "PRAGMA integrity_check")?;
        problems.retain(|row| row != "ok");
        let orphans = "SELECT \"table\" || ' row ' || rowid || ' refers to a missing ' || parent
                       FROM pragma_foreign_key_check";
        problems.extend(rows(&view, orphans)?);
        if problems.is_empty() {
            for (sentence, sql) in RULES {
                let found = rows(&view, sql)?;
                problems.extend(found.iter().map(|row| format!("{sentence} {row}")));
            }
        }
        let files = view
            .prepare("SELECT stored_as, bytes FROM file")?
            .query_map([], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs()))
            })?
            .collect::<Result<_, _>>()?;
        Ok(Checked { problems, files })
    };
    look().map_err(|e| faults.of(e))
}

/// The path as SQLite reads it: whatever could mean something else in an address stands as its number.
fn uri(file: &Path) -> std::io::Result<String> {
    let path = std::path::absolute(file)?;
    let mut uri = "file://".to_owned();
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                uri.push(char::from(byte));
            }
            _ => uri += &format!("%{byte:02X}"),
        }
    }
    Ok(uri)
}

fn rows(db: &Connection, sql: &str) -> Result<Vec<String>, rusqlite::Error> {
    let mut statement = db.prepare(sql)?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    rows.take(TOLD).collect()
}
