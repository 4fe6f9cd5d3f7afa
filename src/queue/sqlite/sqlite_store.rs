//! The store itself: a held directory, the writing connection, groups as transactions.

use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use crate::job::JobId;

use super::super::Error;
use super::super::backup::DATABASE;
use super::super::directory::StateDir;
use super::super::state::Blame;
use super::super::store::{Applied, Change, JobReader, JobStore};
use super::changes::{Changes, Refusal};
use super::fault::{Faults, concerns_one_request};
use super::log::Log;
use super::reads::SqliteReader;
use super::{connection, recovery};

/// Statements kept prepared: more than there are in this module.
const CACHED_STATEMENTS: usize = 128;

/// An open store. The fields are dropped in order: the directory is let go last.
pub struct SqliteStore {
    db: Connection,
    log: Log,
    file: PathBuf,
    faults: Faults,
    epoch: i64,
    dir: StateDir,
}

impl SqliteStore {
    /// Opens or creates the store in `state_dir`, which is created (mode 0700) where it is missing.
    /// Refuses a directory that another daemon uses, a file of another program, and a newer schema,
    /// whose file is left untouched.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        Self::within(StateDir::hold(state_dir)?)
    }

    /// The same in a directory that is held already.
    pub fn within(dir: StateDir) -> Result<Self, Error> {
        let file = dir.path().join(DATABASE);
        let faults = Faults::new(&file);
        let mut db = connection::open_writer(&file, &faults)?;
        let log = Log::watch(&mut db).map_err(|error| faults.of(error))?;
        db.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        Ok(SqliteStore {
            db,
            log,
            file,
            faults,
            epoch: 0,
            dir,
        })
    }

    /// One request in its own savepoint. The outer error ends the group.
    fn apply_one(
        &self,
        changes: &Changes<'_>,
        change: &Change,
    ) -> Result<Result<Applied, Error>, rusqlite::Error> {
        self.db.execute_batch("SAVEPOINT request")?;
        match changes.apply(change) {
            Ok(applied) => {
                self.db.execute_batch("RELEASE request")?;
                Ok(Ok(applied))
            }
            Err(Refusal::Answer(error)) => {
                self.db
                    .execute_batch("ROLLBACK TO request; RELEASE request")?;
                Ok(Err(error))
            }
            // SQLite may have undone the whole transaction on its own; then there is no savepoint left.
            Err(Refusal::Sqlite(error))
                if concerns_one_request(&error) && !self.db.is_autocommit() =>
            {
                self.db
                    .execute_batch("ROLLBACK TO request; RELEASE request")?;
                Ok(Err(self.faults.of(error)))
            }
            Err(Refusal::Sqlite(error)) => Err(error),
        }
    }

    fn apply_group(
        &self,
        group: &[Change],
        now_ms: i64,
    ) -> Result<Vec<Result<Applied, Error>>, rusqlite::Error> {
        // Undone on drop, so every early return leaves nothing behind.
        let transaction =
            rusqlite::Transaction::new_unchecked(&self.db, TransactionBehavior::Immediate)?;
        let changes = Changes {
            db: &self.db,
            epoch: self.epoch,
            now_ms,
        };
        let applied = group
            .iter()
            .map(|change| self.apply_one(&changes, change))
            .collect::<Result<_, _>>()?;
        transaction.commit()?;
        Ok(applied)
    }

    /// A group of one, where a full disk refuses only that one.
    fn apply_alone(&self, change: &Change, now_ms: i64) -> Result<Result<Applied, Error>, Error> {
        match self.apply_group(std::slice::from_ref(change), now_ms) {
            Ok(mut applied) => Ok(applied.remove(0)),
            Err(error) => match self.faults.of(error) {
                full @ Error::NoSpace { .. } => Ok(Err(full)),
                error => Err(error),
            },
        }
    }
}

impl JobStore for SqliteStore {
    fn recover(
        &mut self,
        now_ms: i64,
        blame: Blame,
        poison_limit: u32,
    ) -> Result<Vec<JobId>, Error> {
        let recovered = recovery::recover(&self.db, now_ms, blame, poison_limit);
        let (epoch, queued) = recovered.map_err(|error| self.faults.of(error))?;
        self.epoch = epoch;
        // SQLite does so, too, when it has made its log, and does not look at what comes of it: commits into a log without
        // a name would be gone with the power.
        self.dir.sync_names()?;
        Ok(queued)
    }

    fn apply(
        &mut self,
        group: &[Change],
        now_ms: i64,
    ) -> Result<Vec<Result<Applied, Error>>, Error> {
        let applied = match self.apply_group(group, now_ms) {
            Ok(applied) => applied,
            Err(error) => match self.faults.of(error) {
                // SQLite undoes a whole transaction when the disk is full. Perhaps only one of the group
                // was too large: its neighbours get another chance, each in a transaction of its own.
                Error::NoSpace { .. } => group
                    .iter()
                    .map(|change| self.apply_alone(change, now_ms))
                    .collect::<Result<_, _>>()?,
                error => return Err(error),
            },
        };
        let copied = self.log.copy_if_long(&self.db);
        match copied.map_err(|error| self.faults.of(error)) {
            // On a full disk the log keeps what was committed.
            Ok(()) | Err(Error::NoSpace { .. }) => Ok(applied),
            Err(error) => Err(error),
        }
    }

    fn reader(&self) -> Result<Box<dyn JobReader>, Error> {
        let db = connection::open_reader(&self.file, &self.faults)?;
        db.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        Ok(Box::new(SqliteReader {
            db,
            faults: self.faults.clone(),
        }))
    }

    fn close(self: Box<Self>) -> Result<(), Error> {
        let SqliteStore {
            db,
            faults,
            dir: _dir,
            ..
        } = *self;
        // The last connection to go would copy the log into the database as well, and say nothing when it cannot.
        let copied = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        match copied.map_err(|error| faults.of(error)) {
            // The log keeps everything, and the next daemon copies it.
            Ok(()) | Err(Error::NoSpace { .. }) => {}
            Err(error) => {
                // What a failed sync left unwritten must not be taken for written: the log stays.
                let kept = db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
                return Err(kept.err().map_or(error, |problem| faults.of(problem)));
            }
        }
        db.close().map_err(|(_, error)| faults.of(error))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::store::{Admission, Finished};
    use super::super::super::{Completion, Limits, NewJob};
    use super::*;

    fn submit(body: usize) -> Change {
        let job = NewJob::plain(vec![b' '; body]);
        let limits = Limits {
            max_jobs: 100,
            max_bytes: None,
            max_jobs_per_user: None,
            max_bytes_per_user: None,
        };
        let admission = Admission { limits, pace: None };
        Change::Submit { job, admission }
    }

    /// A disk with no more room than the database has now is what a page limit looks like to SQLite.
    #[test]
    fn a_full_disk_refuses_what_does_not_fit_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(root.path()).unwrap();
        store.recover(0, Blame::RunningJobs, 3).unwrap();
        store.apply(&[submit(10)], 0).unwrap();
        let pages: i64 = store
            .db
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap();
        let limit = |store: &SqliteStore, pages: i64| {
            let sql = format!("PRAGMA max_page_count = {pages}");
            store.db.execute_batch(&sql).unwrap();
        };
        limit(&store, pages + 2);
        let applied = store.apply(&[submit(10), submit(100_000), submit(20), Change::Claim], 0);
        let path = root.path().join(DATABASE).display().to_string();
        let refused = Err(Error::NoSpace { path });
        let applied = applied.unwrap();
        assert_eq!(applied[1], refused);
        assert!(applied[0].is_ok() && applied[2].is_ok());
        let big = Completion::Completed {
            result: vec![b' '; 100_000],
            usage: Default::default(),
            outline: vec![],
            keep: None,
        };
        let finish = Change::Finish {
            id: JobId(1),
            completion: big,
        };
        assert_eq!(
            store.apply(std::slice::from_ref(&finish), 0).unwrap()[0],
            refused
        );
        limit(&store, 1_000_000);
        assert_eq!(
            store.apply(&[finish], 0).unwrap()[0],
            Ok(Applied::Finished(Finished::Published))
        );
        // Bodies of refused jobs left nothing behind.
        let bodies: i64 = store
            .db
            .query_row("SELECT count(*) FROM request", [], |row| row.get(0))
            .unwrap();
        assert_eq!(bodies, 3);
    }
}
