//! A copy of the database at one moment.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, params};

use crate::queue::Error;

use super::connection::pragma;
use super::fault::Faults;

/// Steps of SQLite between two looks at whether to stop: less than a millisecond.
const STEPS: i32 = 10_000;

/// Copies what `db`, a connection that only reads, sees now, without holding up the writer. Rows of files that `keep`
/// has not are left out.
pub(super) fn copy(
    db: &mut Connection,
    to: &Path,
    stop: &Arc<AtomicBool>,
    keep: &mut dyn FnMut(&str) -> bool,
) -> Result<(), Error> {
    let faults = Faults::new(to);
    let mut make = || -> Result<String, rusqlite::Error> {
        let stoppable = Stoppable::new(db, stop)?;
        // The copy is a database that this connection writes, for once.
        stoppable.0.execute_batch("PRAGMA query_only = OFF")?;
        let copied = stoppable
            .0
            .execute("VACUUM INTO ?1", [to.to_string_lossy()]);
        stoppable.0.execute_batch("PRAGMA query_only = ON")?;
        copied?;
        tidy_up(&mut Connection::open(to)?, stop, keep)
    };
    match make().map_err(|e| faults.file(&e))?.as_str() {
        "ok" => Ok(()),
        damage => Err(Error::File {
            path: to.display().to_string(),
            problem: format!("the copy is damaged: {damage}"),
        }),
    }
}

/// Makes of a copy what a daemon may begin with, and looks for damage.
fn tidy_up(
    copy: &mut Connection,
    stop: &Arc<AtomicBool>,
    keep: &mut dyn FnMut(&str) -> bool,
) -> Result<String, rusqlite::Error> {
    let Stoppable(copy) = &Stoppable::new(copy, stop)?;
    let names: Vec<String> = copy
        .prepare("SELECT stored_as FROM file")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for name in names {
        if !keep(&name) {
            copy.execute("DELETE FROM file WHERE stored_as = ?1", params![name])?;
        }
    }
    copy.execute(
        "UPDATE job SET state = 'queued', lease_epoch = NULL, started_at_ms = NULL, attempts = attempts - 1
         WHERE state = 'running'",
        [],
    )?;
    pragma(copy, "integrity_check")
}

/// A connection whose statements break off when they are told to.
struct Stoppable<'a>(&'a mut Connection);

impl<'a> Stoppable<'a> {
    fn new(db: &'a mut Connection, stop: &Arc<AtomicBool>) -> Result<Self, rusqlite::Error> {
        let stop = Arc::clone(stop);
        db.progress_handler(STEPS, Some(move || stop.load(Ordering::Relaxed)))?;
        Ok(Stoppable(db))
    }
}

impl Drop for Stoppable<'_> {
    fn drop(&mut self) {
        // It cannot fail on a connection of ours.
        let _ = self.0.progress_handler(0, None::<fn() -> bool>);
    }
}
