//! The version of the database file, and the way from one to the next.

use rusqlite::Connection;

use super::connection::pragma;
use super::fault::Faults;
use crate::queue::Error;

/// "WOOL", so that tools can tell whose file it is.
const APPLICATION_ID: i32 = 0x574f_4f4c;

/// From each version to the next; the first makes version 1 of an empty file. Those that were published are never
/// changed.
const STEPS: [&str; 7] = [
    include_str!("1.sql"),
    include_str!("2.sql"),
    include_str!("3.sql"),
    include_str!("4.sql"),
    include_str!("5.sql"),
    include_str!("6.sql"),
    include_str!("7.sql"),
];
const VERSION: i32 = STEPS.len() as i32;

/// The version of a file that may be used; 0 for an empty one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found(usize);

/// Looks without writing. Refuses a file of another program and one of a newer schema.
pub(super) fn check(db: &Connection, faults: &Faults) -> Result<Found, Error> {
    let number = |name| {
        let text = pragma(db, name).map_err(|e| faults.at_first_sight(e))?;
        text.parse::<i32>()
            .map_err(|_| faults.store(format!("{name} is {text}")))
    };
    let (application, version) = (number("application_id")?, number("user_version")?);
    let objects: i64 = db
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|e| faults.of(e))?;
    match (application, version) {
        (0, 0) if objects == 0 => Ok(Found(0)),
        (APPLICATION_ID, 1..=VERSION) => Ok(Found(version as usize)),
        (APPLICATION_ID, newer) if newer > VERSION => Err(faults.foreign(format!(
            "has schema version {newer}, and this program knows {VERSION}: a newer woollyd wrote it"
        ))),
        _ => Err(faults.foreign("is a database of another program".to_owned())),
    }
}

/// Refuses also a file of an older schema, which does not hold everything yet.
pub(super) fn check_current(db: &Connection, faults: &Faults) -> Result<(), Error> {
    match check(db, faults)? {
        Found(version) if version == STEPS.len() => Ok(()),
        Found(older) => Err(faults.store(format!(
            "has schema version {older}: the next start of woollyd brings it up to date"
        ))),
    }
}

/// Brings the schema up to date in one transaction: a crash leaves the file as it was, or whole.
pub(super) fn migrate(db: &Connection, found: Found) -> Result<(), rusqlite::Error> {
    if found.0 < STEPS.len() {
        let transaction = db.unchecked_transaction()?;
        for step in &STEPS[found.0..] {
            transaction.execute_batch(step)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(())
}
