//! The log of the database, and when it is copied into it.
//!
//! SQLite's own way of doing that after a commit hides a sync that failed: the commit has succeeded. Here it is a fault
//! like any other.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use rusqlite::Connection;

/// Pages; a log of this length is copied, which is SQLite's own choice too.
const LONG: i32 = 1_000;

/// How many pages the log of one connection has.
pub(super) struct Log {
    pages: Arc<AtomicI32>,
}

impl Log {
    /// Watches what this connection commits.
    pub(super) fn watch(db: &mut Connection) -> Result<Self, rusqlite::Error> {
        let pages = Arc::new(AtomicI32::new(0));
        let counted = pages.clone();
        db.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, now: i32| {
            counted.store(now, Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Log { pages })
    }

    /// Copies as much as no reader holds up, once it is long.
    pub(super) fn copy_if_long(&self, db: &Connection) -> Result<(), rusqlite::Error> {
        if self.pages.load(Ordering::Relaxed) < LONG {
            return Ok(());
        }
        db.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_begins_anew_once_it_is_copied() {
        let root = tempfile::tempdir().unwrap();
        let mut db = Connection::open(root.path().join("queue.db")).unwrap();
        db.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(x)",
        )
        .unwrap();
        let log = Log::watch(&mut db).unwrap();
        let write = |rows: i32| {
            for _ in 0..rows {
                db.execute("INSERT INTO t VALUES (zeroblob(4000))", [])
                    .unwrap();
            }
            log.copy_if_long(&db).unwrap();
            log.pages.load(Ordering::Relaxed)
        };
        assert!(write(10) >= 10);
        assert!(write(LONG) >= LONG);
        // Behind the copy SQLite writes from the beginning of the log.
        assert!(write(1) < 10);
    }
}
