//! Files, batches, and the copy of everything.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::queue::Error;
use crate::queue::backup::Backup;
use crate::queue::batch::{BatchRow, FileRow, NewBatch, NewFile};
use crate::queue::bell::Bell;
use crate::queue::files::Files;
use crate::queue::limits::Limits;
use crate::queue::store::{Applied, BatchChange, Change};
use crate::queue::uploads::{Upload, Uploads};

use super::{Inner, Queue, mismatch};

impl Queue {
    /// Changes a file or a batch; answers after the commit.
    pub async fn change_batch(&self, change: BatchChange) -> Result<Applied, Error> {
        self.change(Change::Batch(change)).await
    }

    /// Takes in the row of a file that a user sent.
    pub fn add_file_blocking(&self, file: NewFile) -> Result<FileRow, Error> {
        let limits = self.inner.limits;
        match self.change_batch_blocking(BatchChange::AddFile { file, limits })? {
            Applied::File(row) => Ok(row),
            other => Err(mismatch(&other)),
        }
    }

    /// A file of this user that is on its way.
    pub fn upload(&self, uid: u32) -> Upload {
        Upload::begin(self.clone(), uid)
    }

    pub(in crate::queue) fn uploads(&self) -> &Uploads {
        &self.inner.uploads
    }

    pub(in crate::queue) fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The batch that its user made before with the key of this one, if there is one; the same refusal as of
    /// [`Queue::add_batch`] when the request was another. Its input may be gone by now.
    pub async fn batch_made_before(&self, batch: &NewBatch) -> Result<Option<BatchRow>, Error> {
        let Some(key) = batch.idempotency_key.clone() else {
            return Ok(None);
        };
        let uid = batch.uid;
        let found = self
            .read(move |reader| reader.batch_of_key(uid, &key))
            .await?;
        match found {
            Some(before) if !before.batch.is_same_request(batch) => Err(Error::IdempotencyConflict),
            found => Ok(found),
        }
    }

    /// Takes in a batch, or finds it again by its idempotency key.
    pub async fn add_batch(&self, batch: NewBatch) -> Result<BatchRow, Error> {
        let limits = self.inner.limits;
        match self
            .change_batch(BatchChange::Add { batch, limits })
            .await?
        {
            Applied::Batch(row) => Ok(row),
            other => Err(mismatch(&other)),
        }
    }

    /// Takes in a file that was dropped into the spool directory. Whether it was known before.
    pub fn spool_blocking(
        &self,
        (name, identity): (String, String),
        file: NewFile,
        batch: NewBatch,
    ) -> Result<(BatchRow, bool), Error> {
        let limits = self.inner.limits;
        let change = BatchChange::Spool {
            name,
            identity,
            file,
            batch,
            limits,
        };
        match self.change_batch_blocking(change)? {
            Applied::Spooled { batch, existed } => Ok((batch, existed)),
            other => Err(mismatch(&other)),
        }
    }

    /// [`Queue::change_batch`] for a thread that may wait.
    pub fn change_batch_blocking(&self, change: BatchChange) -> Result<Applied, Error> {
        self.change_blocking(Change::Batch(change))
    }

    /// Rings when a batch may need something; closed by [`Queue::close`].
    pub fn batch_bell(&self) -> Arc<Bell> {
        self.inner.shared.batch_bell.clone()
    }

    /// Where files lie.
    pub fn files(&self) -> &Files {
        &self.inner.files
    }

    /// A copy of everything that was accepted so far; one at a time. A close does not wait for it.
    pub fn backup_blocking(&self) -> Result<Backup, Error> {
        let Inner {
            state_dir,
            files,
            copying,
            closing,
            ..
        } = &*self.inner;
        let mut reader = copying.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *reader {
            Some(reader) => {
                let made = Backup::make(state_dir, files, &mut **reader, closing);
                made.map_err(|error| match closing.load(Ordering::Relaxed) {
                    true => Error::Closed,
                    false => error,
                })
            }
            None => Err(Error::Closed),
        }
    }
}
