//! The statements behind files: those that users handed in, and those that batches wrote.

use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::queue::batch::{FileId, FileRow, NewFile};
use crate::queue::{Error, Limits, Page, Share};

use super::batches::{integer, page_params};
use super::changes::{Changes, Refusal};

const FILE: &str =
    "SELECT id, uid, purpose, name, stored_as, bytes, created_at_ms, expires_at_ms FROM file";

impl Changes<'_> {
    /// One that a user hands in: his share and the queue's may be full.
    pub(super) fn take_file(&self, file: &NewFile, limits: &Limits) -> Result<FileRow, Refusal> {
        let more = Share {
            jobs: 0,
            bytes: file.bytes,
        };
        self.admit(limits, file.uid, more)?;
        Ok(self.add_file(file)?)
    }

    pub(super) fn add_file(&self, file: &NewFile) -> Result<FileRow, rusqlite::Error> {
        let mut row = FileRow {
            id: FileId(0),
            file: file.clone(),
            created_at_ms: self.now_ms,
        };
        self.db
            .prepare_cached(
                "INSERT INTO file(uid, purpose, name, stored_as, bytes, created_at_ms, expires_at_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                file.uid,
                file.purpose,
                file.name,
                file.stored_as,
                integer(file.bytes),
                self.now_ms,
                row.expires_at_ms(),
            ])?;
        row.id = FileId(self.db.last_insert_rowid());
        Ok(row)
    }

    pub(super) fn remove_file(&self, id: FileId) -> Result<FileRow, Refusal> {
        let row = file(self.db, id)?.ok_or(Refusal::Answer(Error::NotFound))?;
        let wanted: bool = self
            .db
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM batch WHERE ended_at_ms IS NULL AND input_file = ?1)",
            )?
            .query_row([id.0], |row| row.get(0))?;
        if wanted {
            return Err(Refusal::Answer(Error::FileInUse));
        }
        self.db
            .prepare_cached("DELETE FROM file WHERE id = ?1")?
            .execute([id.0])?;
        Ok(row)
    }

    /// Those whose time is over, without the inputs of open batches; the names of what went.
    pub(super) fn purge_files(&self, limit: usize) -> Result<Vec<String>, rusqlite::Error> {
        self.db
            .prepare_cached(
                "DELETE FROM file WHERE id IN (
                   SELECT id FROM file INDEXED BY file_expiry
                   WHERE expires_at_ms <= ?1 AND expires_at_ms IS NOT NULL
                   AND id NOT IN (SELECT input_file FROM batch WHERE ended_at_ms IS NULL) LIMIT ?2)
                 RETURNING stored_as",
            )?
            .query_map(params![self.now_ms, integer(limit as u64)], |row| {
                row.get(0)
            })?
            .collect()
    }
}

pub(super) fn file(db: &Connection, id: FileId) -> Result<Option<FileRow>, rusqlite::Error> {
    db.prepare_cached(&format!("{FILE} WHERE id = ?1"))?
        .query_row([id.0], file_row)
        .optional()
}

/// Newest first, of those whose time is not over.
pub(super) fn files(
    db: &Connection,
    page: Page,
    purpose: Option<&str>,
    now_ms: i64,
) -> Result<Vec<FileRow>, rusqlite::Error> {
    let (before, uid, limit) = page_params(page);
    db.prepare_cached(&format!(
        "{FILE} WHERE id < ?1 AND (?2 IS NULL OR uid = ?2) AND (?4 IS NULL OR purpose = ?4)
         AND (expires_at_ms IS NULL OR expires_at_ms > ?5) ORDER BY id DESC LIMIT ?3"
    ))?
    .query_map(params![before, uid, limit, purpose, now_ms], file_row)?
    .collect()
}

/// The names of all files in their directory.
pub(super) fn stored_names(db: &Connection) -> Result<Vec<String>, rusqlite::Error> {
    db.prepare("SELECT stored_as FROM file")?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn file_row(row: &Row<'_>) -> Result<FileRow, rusqlite::Error> {
    let created_at_ms: i64 = row.get(6)?;
    let kept_s = |until_ms: i64| u32::try_from((until_ms - created_at_ms) / 1_000).ok();
    Ok(FileRow {
        id: FileId(row.get(0)?),
        file: NewFile {
            uid: row.get(1)?,
            purpose: row.get(2)?,
            name: row.get(3)?,
            stored_as: row.get(4)?,
            bytes: row.get::<_, i64>(5)?.unsigned_abs(),
            kept_s: row.get::<_, Option<i64>>(7)?.and_then(kept_s),
        },
        created_at_ms,
    })
}
