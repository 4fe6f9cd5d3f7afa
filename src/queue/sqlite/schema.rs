//! The version of the database file, and the way from one to the next.

use rusqlite::Connection;

use super::super::Error;
use super::connection::pragma;
use super::fault::Faults;

/// "WOOL", so that tools can tell whose file it is.
const APPLICATION_ID: i32 = 0x574f_4f4c;

/// Increase it with every change of `schema.sql`, and add the migration.
const VERSION: i32 = 1;

/// What a file is that may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    Empty,
    Current,
}

/// Looks without writing. Refuses a file of another program and one of a newer schema.
pub(super) fn check(db: &Connection, faults: &Faults) -> Result<Found, Error> {
    let number = |name| {
        let text = pragma(db, name).map_err(|e| faults.of(e))?;
        text.parse::<i32>()
            .map_err(|_| faults.store(format!("{name} is {text}")))
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    let objects: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|e| faults.of(e))?;
    match (application, version) {
        (0, 0) if objects == 0 => Ok(Found::Empty),
        (APPLICATION_ID, VERSION) => Ok(Found::Current),
        (APPLICATION_ID, newer) if newer > VERSION => Err(faults.store(format!(
            "has schema version {newer}, and this program knows {VERSION}: a newer woollyd wrote it"
        ))),
        _ => Err(faults.store("is a database of another program".to_owned())),
    }
}

/// Creates the schema in one transaction: a crash leaves an empty file or a whole one.
pub(super) fn migrate(db: &Connection, found: Found) -> Result<(), rusqlite::Error> {
    if found == Found::Empty {
        let transaction = db.unchecked_transaction()?;
        transaction.execute_batch(include_str!("schema.sql"))?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(())
}
