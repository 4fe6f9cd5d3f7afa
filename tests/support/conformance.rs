//! What every suite runs its rules against: the SQLite store and the oracle in memory.

use woolly::queue::{Blame, JobStore, SqliteStore};

use super::queue_oracle::Oracle;

/// Opens stores that share what is on disk. The one before must be gone: that is a crash.
pub(crate) trait Disk {
    fn open(&self) -> Box<dyn JobStore>;
}

pub(crate) struct SqliteDisk(tempfile::TempDir);

impl SqliteDisk {
    pub(crate) fn new() -> Self {
        SqliteDisk(tempfile::tempdir().unwrap())
    }
}

impl Disk for SqliteDisk {
    fn open(&self) -> Box<dyn JobStore> {
        let mut store = SqliteStore::open(self.0.path()).unwrap();
        store.recover(500, Blame::RunningJobs, 3).unwrap();
        Box::new(store)
    }
}

impl Disk for Oracle {
    fn open(&self) -> Box<dyn JobStore> {
        let mut store = self.clone();
        store.recover(500, Blame::RunningJobs, 3).unwrap();
        Box::new(store)
    }
}

/// Runs each rule, a function of the file that says this, against every store.
macro_rules! conformance {
    ($($rule:ident)*) => {
        mod sqlite { $(#[test] fn $rule() {
            super::$rule(&$crate::support::conformance::SqliteDisk::new());
        })* }
        mod oracle { $(#[test] fn $rule() {
            super::$rule(&$crate::support::queue_oracle::Oracle::default());
        })* }
    };
}
pub(crate) use conformance;
