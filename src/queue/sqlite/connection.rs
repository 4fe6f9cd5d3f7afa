//! Connections to the database file: settings written, read back and verified.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};

use super::super::Error;
use super::fault::Faults;
use super::schema;

/// The first version with all the fixes of WAL mode that the store relies on.
const OLDEST_SQLITE: i32 = 3_051_003;

/// Settings, with what reading them back must give. `auto_vacuum` must come before the first page is
/// written, and that is the doing of `journal_mode`.
const WRITER_SETTINGS: [(&str, &str, &str); 10] = [
    // Freed pages can be given back to the file system.
    ("auto_vacuum", "INCREMENTAL", "2"),
    // Readers and the writer do not wait for each other.
    ("journal_mode", "WAL", "wal"),
    // Every commit is on disk when it returns.
    ("synchronous", "FULL", "2"),
    ("foreign_keys", "ON", "1"),
    ("trusted_schema", "OFF", "0"),
    // Damage inside a page is noticed when the page is read.
    ("cell_size_check", "ON", "1"),
    // SQLite would copy the log by itself, and say nothing when it cannot: the store does it.
    ("wal_autocheckpoint", "0", "0"),
    // Bytes that the log keeps on disk at most when it is empty.
    ("journal_size_limit", "67108864", "67108864"),
    // Only a quick check does without them, and nothing that is written.
    ("ignore_check_constraints", "OFF", "0"),
    TEMPORARY,
];

/// What does not last is kept in memory: a file for it may be the one too many that the process opens, and the store
/// would fail of that.
const TEMPORARY: (&str, &str, &str) = ("temp_store", "MEMORY", "2");

const READER_SETTINGS: [(&str, &str, &str); 4] = [
    ("query_only", "ON", "1"),
    ("trusted_schema", "OFF", "0"),
    ("cell_size_check", "ON", "1"),
    TEMPORARY,
];

/// Opens the writing connection and brings the schema up to date. A file that is not ours, or of a newer
/// schema, is refused and left as it is.
pub(super) fn open_writer(file: &Path, faults: &Faults) -> Result<Connection, Error> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        let problem = format!("SQLite {} is too old", rusqlite::version());
        return Err(faults.store(problem));
    }
    // A clean end removes the log. What a crash left is checked once, page by page.
    let log = file.with_extension("db-wal");
    let unclean = log.metadata().is_ok_and(|meta| meta.len() > 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    make_private(file);
    let db = Connection::open_with_flags(file, flags).map_err(|e| faults.of(e))?;
    // Until the file is known to be ours, closing it must not write to it.
    set(
        &db,
        DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
        true,
        faults,
    )?;
    let found = schema::check(&db, faults)?;
    if unclean {
        quick_check(&db, faults)?;
    }
    apply(&db, &WRITER_SETTINGS, faults)?;
    set(&db, DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true, faults)?;
    set(
        &db,
        DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
        false,
        faults,
    )?;
    schema::migrate(&db, found).map_err(|e| faults.of(e))?;
    Ok(db)
}

/// Prompts and answers are for their owner's eyes, also in a state directory that someone else made. SQLite
/// gives the log and its index the mode of the database.
fn make_private(file: &Path) {
    let mut options = File::options();
    // When this fails SQLite fails next, and has a sentence for it.
    let _ = options.create(true).append(true).mode(0o600).open(file);
}

/// Opens a connection that can only read.
pub(super) fn open_reader(file: &Path, faults: &Faults) -> Result<Connection, Error> {
    // Read-write as a file, because even a reader of a WAL database shares its index; `query_only`
    // forbids the rest.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags).map_err(|e| faults.of(e))?;
    apply(&db, &READER_SETTINGS, faults)?;
    Ok(db)
}

fn set(db: &Connection, config: DbConfig, on: bool, faults: &Faults) -> Result<(), Error> {
    let now = db.set_db_config(config, on).map_err(|e| faults.of(e))?;
    if now != on {
        return Err(faults.store(format!("SQLite did not accept {config:?} = {on}")));
    }
    Ok(())
}

fn apply(db: &Connection, settings: &[(&str, &str, &str)], faults: &Faults) -> Result<(), Error> {
    for (name, written, expected) in settings {
        db.execute_batch(&format!("PRAGMA {name} = {written}"))
            .map_err(|e| faults.of(e))?;
        let read = pragma(db, name).map_err(|e| faults.of(e))?;
        if read != *expected {
            return Err(faults.store(format!(
                "SQLite setting {name} is {read} where {written} was asked for"
            )));
        }
    }
    Ok(())
}

/// The value of a pragma as text.
pub(super) fn pragma(db: &Connection, name: &str) -> Result<String, rusqlite::Error> {
    db.pragma_query_value(None, name, |row| {
        Ok(match row.get(0)? {
            Value::Text(text) => text,
            Value::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        })
    })
}

/// Every page, and the type of every value. Not the CHECK rules of the rows, which no crash breaks: they take two thirds
/// of the time (0.7 s instead of 2.1 s with a million jobs), and `woollyctl queue check` has it.
fn quick_check(db: &Connection, faults: &Faults) -> Result<(), Error> {
    apply(db, &[("ignore_check_constraints", "ON", "1")], faults)?;
    match pragma(db, "quick_check")
        .map_err(|e| faults.of(e))?
        .as_str()
    {
        "ok" => Ok(()),
        // A headline and a line per damage: one of these is enough to know.
        damage => {
            let first = damage
                .lines()
                .find(|line| !line.starts_with("***"))
                .unwrap_or(damage);
            Err(faults.store(format!("is damaged: {first}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_setting_that_does_not_take_is_refused() {
        let db = Connection::open_in_memory().unwrap();
        let faults = Faults::new(Path::new("queue.db"));
        // A database in memory has no WAL.
        let refused = apply(&db, &[("journal_mode", "WAL", "wal")], &faults).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "job store queue.db: SQLite setting journal_mode is memory where WAL was asked for"
        );
    }

    #[test]
    fn every_setting_is_read_back() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("queue.db");
        let db = open_writer(&file, &Faults::new(&file)).unwrap();
        for (name, _, expected) in WRITER_SETTINGS {
            assert_eq!(pragma(&db, name).unwrap(), expected, "{name}");
        }
        for name in ["queue.db", "queue.db-wal", "queue.db-shm"] {
            let mode = root
                .path()
                .join(name)
                .metadata()
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let reader = open_reader(&file, &Faults::new(&file)).unwrap();
        for (name, _, expected) in READER_SETTINGS {
            assert_eq!(pragma(&reader, name).unwrap(), expected, "{name}");
        }
        reader.execute("DELETE FROM job", []).unwrap_err();
    }
}
