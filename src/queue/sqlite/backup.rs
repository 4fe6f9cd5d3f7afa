//! A copy of the database at one moment.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::queue::Error;

use super::connection::pragma;
use super::fault::Faults;

/// Copies what `db`, a connection that only reads, sees now, without holding up the writer. Rows of files that `keep`
/// has not are left out.
pub(super) fn copy(
    db: &Connection,
    to: &Path,
    keep: &mut dyn FnMut(&str) -> bool,
) -> Result<(), Error> {
    let faults = Faults::new(to);
    // The copy is a database that this connection writes, for once.
    let copied = db
        .execute_batch("PRAGMA query_only = OFF")
        .and_then(|()| db.execute("VACUUM INTO ?1", [to.to_string_lossy()]));
    let closed = db.execute_batch("PRAGMA query_only = ON");
    copied
        .and(closed.map(|()| 0))
        .map_err(|e| faults.file(&e))?;
    let mut thin_out = || -> Result<String, rusqlite::Error> {
        let copy = Connection::open(to)?;
        let names: Vec<String> = copy
            .prepare("SELECT stored_as FROM file")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        for name in names {
            if !keep(&name) {
                copy.execute("DELETE FROM file WHERE stored_as = ?1", params![name])?;
            }
        }
        pragma(&copy, "integrity_check")
    };
    match thin_out().map_err(|e| faults.file(&e))?.as_str() {
        "ok" => Ok(()),
        damage => Err(Error::File {
            path: to.display().to_string(),
            problem: format!("the copy is damaged: {damage}"),
        }),
    }
}
