//! Files that were dropped into the spool directory, and their batches.

use rusqlite::{Connection, OptionalExtension, params};

use crate::queue::Error;
use crate::queue::batch::{BatchId, NewBatch, NewFile, Spooled};
use crate::queue::limits::{Limits, Share};
use crate::queue::store::Applied;

use super::batches;
use super::changes::{Changes, Refusal};

impl Changes<'_> {
    /// The file and its batch, unless this very file has one whose results are to come. One whose results are delivered
    /// is forgotten: the file was dropped again.
    pub(super) fn spool(
        &self,
        (name, identity): (&str, &str),
        file: &NewFile,
        batch: &NewBatch,
        limits: &Limits,
    ) -> Result<Applied, Refusal> {
        let known: Option<i64> = self
            .db
            .prepare_cached("SELECT batch FROM spooled WHERE identity = ?1 AND delivered = 0")?
            .query_row([identity], |row| row.get(0))
            .optional()?;
        if let Some(known) = known {
            let batch = batches::batch(self.db, BatchId(known))?;
            return Ok(Applied::Spooled {
                batch: batch.ok_or(Refusal::Answer(Error::NotFound))?,
                existed: true,
            });
        }
        self.takes_work()?;
        self.admit(limits, file.uid, Share::of_spooled(file.bytes))?;
        let input_file = self.add_file(file)?.id;
        let batch = self.insert_batch(&NewBatch {
            input_file,
            ..batch.clone()
        })?;
        self.db
            .prepare_cached(
                "INSERT INTO spooled(identity, name, batch) VALUES (?1, ?2, ?3)
                 ON CONFLICT(identity) DO UPDATE SET name = ?2, batch = ?3, delivered = 0",
            )?
            .execute(params![identity, name, batch.id.0])?;
        Ok(Applied::Spooled {
            batch,
            existed: false,
        })
    }

    /// The names of the files that went.
    pub(super) fn spool_delivered(&self, id: BatchId) -> Result<Vec<String>, Refusal> {
        let batch = batches::batch(self.db, id)?.ok_or(Refusal::Answer(Error::NotFound))?;
        let noted = self
            .db
            .prepare_cached("UPDATE spooled SET delivered = 1 WHERE batch = ?1 AND delivered = 0")?
            .execute([id.0])?;
        let mut forgotten = vec![];
        if noted == 0 {
            return Ok(forgotten);
        }
        let files = [
            Some(batch.batch.input_file),
            batch.output_file,
            batch.error_file,
        ];
        for file in files.into_iter().flatten() {
            match self.remove_file(file) {
                Ok(row) => forgotten.push(row.file.stored_as),
                // Somebody was faster, or makes another batch of it.
                Err(Refusal::Answer(Error::NotFound | Error::FileInUse)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(forgotten)
    }
}

/// Those whose results were not delivered, oldest first.
pub(super) fn undelivered(db: &Connection) -> Result<Vec<Spooled>, rusqlite::Error> {
    let sql = "SELECT name, identity, batch FROM spooled WHERE delivered = 0 ORDER BY batch";
    let found: Vec<(String, String, i64)> = db
        .prepare_cached(sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    let mut spooled = vec![];
    for (name, identity, id) in found {
        if let Some(batch) = batches::batch(db, BatchId(id))? {
            spooled.push(Spooled {
                name,
                identity,
                batch,
            });
        }
    }
    Ok(spooled)
}
