//! The store itself: a held directory, the writing connection, groups as transactions.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, TransactionBehavior};

use crate::job::JobId;

use super::super::Error;
use super::super::directory::StateDir;
use super::super::store::{Applied, Change, JobReader, JobStore};
use super::changes::{Changes, Refusal};
use super::fault::{Faults, concerns_one_request};
use super::reads::SqliteReader;
use super::{connection, recovery};

const FILE: &str = "queue.db";

/// Statements kept prepared: all of `changes` and `reads`.
const CACHED_STATEMENTS: usize = 32;

/// An open store. The fields are dropped in order: the directory is let go last.
pub struct SqliteStore {
    db: Connection,
    file: PathBuf,
    faults: Faults,
    epoch: i64,
    _dir: StateDir,
}

impl SqliteStore {
    /// Opens or creates the store in `state_dir`, which is created (mode 0700) where it is missing.
    /// Refuses a directory that another daemon uses, a file of another program, and a newer schema,
    /// whose file is left untouched.
    pub fn open(state_dir: &Path) -> Result<Self, Error> {
        let dir = StateDir::hold(state_dir)?;
        let file = dir.path().join(FILE);
        let faults = Faults::new(&file);
        let db = connection::open_writer(&file, &faults)?;
        db.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        Ok(SqliteStore {
            db,
            file,
            faults,
            epoch: 0,
            _dir: dir,
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
        &mut self,
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
}

impl JobStore for SqliteStore {
    fn recover(&mut self, now_ms: i64) -> Result<Vec<JobId>, Error> {
        let (epoch, queued) = recovery::recover(&self.db, now_ms).map_err(|e| self.faults.of(e))?;
        self.epoch = epoch;
        Ok(queued)
    }

    fn apply(
        &mut self,
        group: &[Change],
        now_ms: i64,
    ) -> Result<Vec<Result<Applied, Error>>, Error> {
        self.apply_group(group, now_ms)
            .map_err(|error| self.faults.of(error))
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
        // The last connection to go copies the log into the database and removes it.
        let SqliteStore {
            db, faults, _dir, ..
        } = *self;
        db.close().map_err(|(_, error)| faults.of(error))
    }
}
