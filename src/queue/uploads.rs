//! Files that are on their way. The store does not know them before they are whole, so each of them would find the same
//! room if they did not count here.
//!
//! Invariant: bytes only, in memory: what a daemon that died had on its way is swept away.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::limits::{Limits, Share};
use super::{Error, JobReader, Queue};

/// Bytes on their way, by user.
#[derive(Default)]
pub(super) struct Uploads(Mutex<BTreeMap<u32, u64>>);

/// A file on its way. Dropped, it counts no more.
pub struct Upload {
    queue: Queue,
    uid: u32,
    /// As far as they were taken in.
    bytes: u64,
}

impl Uploads {
    fn by_user(&self) -> MutexGuard<'_, BTreeMap<u32, u64>> {
        // Numbers only; the worst are wrong ones.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the bytes of `more` of a user instead of `before`, if all of it has room beside what is in the queue (`all`,
    /// and of this user) and what else is on its way.
    fn admit(
        &self,
        limits: &Limits,
        (mut all, mut of_user): (Share, Share),
        uid: u32,
        before: u64,
        more: Share,
    ) -> Result<(), Error> {
        let mut by_user = self.by_user();
        let own = by_user.get(&uid).copied().unwrap_or(0);
        let others = by_user.values().sum::<u64>().saturating_sub(before);
        all.bytes = all.bytes.saturating_add(others);
        of_user.bytes = of_user.bytes.saturating_add(own.saturating_sub(before));
        limits.admit(all, of_user, more)?;
        by_user.insert(uid, own.saturating_sub(before).saturating_add(more.bytes));
        Ok(())
    }

    fn leave(&self, uid: u32, bytes: u64) {
        let mut by_user = self.by_user();
        if let Some(left) = by_user.get_mut(&uid) {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                by_user.remove(&uid);
            }
        }
    }
}

impl Upload {
    pub(super) fn begin(queue: Queue, uid: u32) -> Self {
        let bytes = 0;
        Upload { queue, uid, bytes }
    }

    /// Refuses a file of so many bytes as [`Queue::add_file_blocking`] would by now, if everything else that is on its
    /// way were there. From here on it counts as one of so many.
    pub async fn admit(&mut self, bytes: u64) -> Result<(), Error> {
        let uid = self.uid;
        let shares = self.queue.read(move |reader| reader.shares(uid)).await?;
        let bytes = bytes.max(self.bytes);
        self.count(shares, Share { jobs: 0, bytes })
    }

    /// The same for a file that comes together with its batch, as [`Queue::spool_blocking`] takes them in.
    pub fn admit_batch_blocking(&mut self, bytes: u64) -> Result<(), Error> {
        let uid = self.uid;
        let read = move |reader: &mut dyn JobReader| Ok((reader.flow()?, reader.shares(uid)?));
        let (flow, shares) = self.queue.read_blocking(read)?;
        if flow.draining {
            return Err(Error::Draining);
        }
        self.count(shares, Share::of_spooled(bytes))
    }

    fn count(&mut self, shares: (Share, Share), more: Share) -> Result<(), Error> {
        let (uploads, limits) = (self.queue.uploads(), self.queue.limits());
        uploads.admit(limits, shares, self.uid, self.bytes, more)?;
        self.bytes = more.bytes;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.queue.uploads().leave(self.uid, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Reached;
    use super::*;

    #[test]
    fn what_is_on_its_way_counts_beside_what_is_there() {
        let limits = Limits {
            max_jobs: 1,
            max_bytes: Some(100),
            max_jobs_per_user: None,
            max_bytes_per_user: Some(60),
        };
        let share = |bytes| Share { jobs: 0, bytes };
        let there = |all, of_user| (share(all), share(of_user));
        let uploads = Uploads::default();
        let admit =
            |there, uid, before, bytes| uploads.admit(&limits, there, uid, before, share(bytes));
        assert_eq!(admit(there(20, 20), 1, 0, 30), Ok(()));
        // A second one of this user, which the limit leaves ten for.
        let full = Err(Error::Full(Reached::BytesOfUser(60)));
        assert_eq!(admit(there(20, 20), 1, 0, 11), full);
        assert_eq!(admit(there(20, 20), 1, 0, 10), Ok(()));
        // One of another: forty are left of all.
        let full = Err(Error::Full(Reached::Bytes(100)));
        assert_eq!(admit(there(20, 0), 2, 0, 41), full);
        assert_eq!(admit(there(20, 0), 2, 0, 20), Ok(()));
        // It grows, and is not taken for two.
        assert_eq!(admit(there(20, 0), 2, 20, 40), Ok(()));
        assert_eq!(admit(there(20, 0), 2, 40, 41), full);
        uploads.leave(1, 40);
        assert_eq!(admit(there(20, 0), 2, 40, 60), Ok(()));
        uploads.leave(2, 60);
        assert!(uploads.by_user().is_empty());
    }
}
