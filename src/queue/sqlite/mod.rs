//! The job store in a SQLite file: `queue.db` in the state directory, WAL, every commit synced.
//!
//! Invariant: one process per directory, one writing connection in it. Other programs may read the file
//! (`sqlite3 -readonly queue.db`), and must not write to it.
//!
//! It fails in two ways: a full disk refuses the request and the store lives on; any other fault of the
//! file system or the database ends the group, and the caller must not go on writing.

mod admission;
mod backup;
mod batches;
mod cancels;
mod changes;
mod check;
mod connection;
mod fault;
mod files;
mod log;
mod position;
mod reads;
mod recovery;
mod schema;
mod spool;
mod sqlite_store;
mod transcripts;

pub(super) use check::{Checked, check_database};
pub use sqlite_store::SqliteStore;
