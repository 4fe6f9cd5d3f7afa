//! The writing thread: the only place that changes the store.
//!
//! Group commit: what is waiting is committed at once, in one transaction; what arrives during the sync
//! forms the next group. Answers are sent after the commit. Claims are the last of their group, so that a
//! job that arrives with it starts with it.
//!
//! Invariant: never waits for anybody but the store and the next request.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_channel::Receiver;

use crate::job::{JobId, State};

use super::Error;
use super::files::Files;
use super::group::{Answer, GROUP, Group, orphan};
use super::purge_clock::PurgeClock;
use super::row::{Completion, Times};
use super::shared::Shared;
use super::state::{Blame, Retention};
use super::store::{Applied, BatchChange, Change, Finished, JobStore, Purged, Swept};

/// Jobs, and files, deleted with one group, so that submits keep flowing.
const PURGE_CHUNK: usize = 1_000;

/// Jobs that expire with one group.
const WAKE_CHUNK: usize = 1_000;

/// Nothing tells when a full disk has room again, so what met one is tried again after this.
const NO_SPACE_PAUSE: Duration = Duration::from_secs(1);
const NO_SPACE_PAUSE_MS: i64 = NO_SPACE_PAUSE.as_millis() as i64;

pub(super) enum Request {
    Change(Box<Change>, Answer),
    /// Answered when a job is queued, or with `None` when claims are stopped.
    Claim(Answer),
    /// Something in [`Shared`] changed.
    Nudge,
}

pub(super) struct Writer {
    store: Box<dyn JobStore>,
    shared: Arc<Shared>,
    files: Files,
    retention_s: u64,
    /// Claims that wait for a job. Bounded by the threads that claim.
    claimers: Vec<Answer>,
    /// When to look for what is old.
    purge: PurgeClock,
    /// Jobs, and files, deleted with the next group. Fewer on a full disk: a deletion needs room, too.
    purge_chunk: usize,
    /// More jobs expire than fit into one group. They stand where a claim looks, so none is made until they are gone.
    expiring: bool,
    /// When the next job's time comes or its deadline passes.
    next_wake_ms: i64,
    /// A connection went before it heard of its job, which waits to be cancelled.
    orphaned: bool,
}

impl Writer {
    pub(super) fn new(
        store: Box<dyn JobStore>,
        shared: Arc<Shared>,
        files: Files,
        retention_s: u64,
    ) -> Self {
        Writer {
            store,
            shared,
            files,
            retention_s,
            claimers: Vec::new(),
            purge: PurgeClock::new(Instant::now(), now_ms()),
            purge_chunk: PURGE_CHUNK,
            expiring: false,
            next_wake_ms: i64::MIN,
            orphaned: false,
        }
    }

    /// Takes over from the daemon before and deletes what is old.
    pub(super) fn recover(&mut self, blame: Blame, poison_limit: u32) -> Result<(), Error> {
        let now_ms = now_ms();
        for job in self.store.recover(now_ms, blame, poison_limit)? {
            self.shared.live.open(job);
        }
        // A full disk must not keep the daemon from starting: finished jobs can still be fetched.
        let committed = self.commit(Group::default(), now_ms);
        self.set_alarm();
        match committed {
            Err(error @ Error::Store { .. }) => Err(error),
            _ => Ok(()),
        }
    }

    /// Runs until the channel is closed and empty.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        while let Ok(first) = requests.recv_blocking() {
            let mut group = Group::default();
            self.take(&mut group, first);
            while group.changes.len() < GROUP
                && let Ok(request) = requests.try_recv()
            {
                self.take(&mut group, request);
            }
            let held_claims = self.expiring;
            self.commit_or_fail(group);
            let claims_go_on = held_claims && !self.expiring;
            if std::mem::take(&mut self.orphaned) || claims_go_on {
                self.commit_or_fail(Group::default());
            }
        }
        // What connections left behind since the last group; nobody claims any longer.
        self.shared.set_claims_stopped(true);
        self.commit_or_fail(Group::default());
        if let Err(error) = self.store.close() {
            self.shared.fail(error);
        }
    }

    fn take(&mut self, group: &mut Group, request: Request) {
        match request {
            Request::Change(change, answer) => group.push(*change, Some(answer)),
            Request::Claim(answer) => self.claimers.push(answer),
            Request::Nudge => {}
        }
    }

    fn commit_or_fail(&mut self, group: Group) {
        if let Some(error) = self.shared.failure() {
            self.refuse(group, &error);
            return;
        }
        if let Err(error @ Error::Store { .. }) = self.commit(group, now_ms()) {
            self.shared.fail(error);
            self.claimers.clear();
        }
        self.set_alarm();
    }

    /// After every group: an alarm that has rung is over, and a clock that was set makes others of all times.
    fn set_alarm(&self) {
        let next_ms = self.next_wake_ms.min(self.purge.alarm_ms());
        self.shared
            .alarm
            .set(Some(next_ms).filter(|time| *time != i64::MAX));
    }

    fn refuse(&mut self, group: Group, error: &Error) {
        self.claimers.clear();
        for answer in group.answers.into_iter().flatten() {
            let _ = answer.try_send(Err(error.clone()));
        }
    }

    /// Completes the group, applies it and answers. The error is that of the whole group; everybody in
    /// it has heard of it.
    fn commit(&mut self, mut group: Group, now_ms: i64) -> Result<(), Error> {
        let left = std::mem::take(&mut *self.shared.left());
        for id in left.cancel {
            group.push(Change::Cancel(id), None);
        }
        for id in left.delivered {
            group.push(Change::Delivered(id), None);
        }
        if self.purge.is_due(Instant::now(), now_ms) {
            let retention = Retention::at(now_ms, self.retention_s);
            group.push(
                Change::Purge {
                    retention,
                    limit: self.purge_chunk,
                },
                None,
            );
        }
        if now_ms >= self.next_wake_ms {
            // First: claims of this group see what it releases.
            let limit = WAKE_CHUNK;
            group.put_first(Change::Wake { limit });
        }
        if self.shared.claims_stopped() {
            for claimer in self.claimers.drain(..) {
                let _ = claimer.try_send(Ok(Applied::Claimed(None)));
            }
        }
        if !self.expiring {
            for claimer in self.claimers.drain(..) {
                group.push(Change::Claim, Some(claimer));
            }
        }
        if group.changes.is_empty() {
            return Ok(());
        }
        match self.store.apply(&group.changes, now_ms) {
            Ok(applied) => {
                for ((change, answer), applied) in
                    group.changes.iter().zip(group.answers).zip(applied)
                {
                    self.settle(change, answer, applied, now_ms);
                }
                Ok(())
            }
            Err(error) => {
                for (change, answer) in group.changes.into_iter().zip(group.answers) {
                    match answer {
                        Some(answer) => _ = answer.try_send(Err(error.clone())),
                        None => self.keep(&change, now_ms),
                    }
                }
                Err(error)
            }
        }
    }

    /// Tells everybody concerned what was committed.
    fn settle(
        &mut self,
        change: &Change,
        answer: Option<Answer>,
        applied: Result<Applied, Error>,
        now_ms: i64,
    ) {
        match &applied {
            Ok(Applied::Submitted(submitted)) if !submitted.existed => {
                self.shared.live.open(submitted.job.id);
                let Times {
                    not_before_ms,
                    deadline_ms,
                } = submitted.job.times;
                for time in [not_before_ms, deadline_ms].into_iter().flatten() {
                    self.wake_at(time);
                }
            }
            Ok(Applied::Woken(woken)) => {
                // A whole chunk: there is more, and the next group goes on with it.
                self.expiring = woken.expired.len() == WAKE_CHUNK;
                self.next_wake_ms = woken.next_ms.unwrap_or(i64::MAX);
                for (job, before) in &woken.expired {
                    self.ended(*job, *before);
                }
            }
            Ok(Applied::Claimed(Some(claimed))) => {
                self.shared.meter().started(claimed.id, Instant::now());
            }
            Ok(Applied::Claimed(None)) => {
                // Waits for the next job.
                self.claimers.extend(answer);
                return;
            }
            Ok(Applied::Finished(finished)) => {
                if let Change::Finish { id, completion } = change {
                    match completion {
                        Completion::Completed { .. } => {
                            self.shared.meter().completed(*id, Instant::now());
                        }
                        _ => self.shared.meter().left(*id),
                    }
                    match finished {
                        Finished::Published | Finished::Expired => {
                            self.shared.live.close(*id);
                            self.shared.batch_bell.ring();
                        }
                        Finished::Retried { at_ms } => {
                            self.shared.live.open(*id);
                            self.wake_at(*at_ms);
                        }
                        Finished::TooLate => {}
                    }
                }
            }
            Ok(Applied::Ended(jobs) | Applied::Swept(Swept { ended: jobs, .. })) => {
                for (job, before) in jobs {
                    self.ended(*job, *before);
                }
                self.shared.batch_bell.ring();
            }
            Ok(Applied::Batch(_) | Applied::Spooled { .. }) => self.shared.batch_bell.ring(),
            Ok(Applied::Forgotten(names)) => self.remove(names),
            Ok(Applied::File(row)) => {
                // Here and not by who asked for it, who may not wait for the answer.
                if let Change::Batch(BatchChange::RemoveFile(_)) = change {
                    self.remove(std::slice::from_ref(&row.file.stored_as));
                }
            }
            Ok(Applied::Expanded(jobs)) => {
                if let Change::Batch(BatchChange::Expand { lines, .. }) = change
                    && let Some(deadline_ms) =
                        lines.iter().find_map(|line| line.job.times.deadline_ms)
                {
                    self.wake_at(deadline_ms);
                }
                for job in jobs.iter().flatten() {
                    self.shared.live.open(*job);
                }
                self.shared.batch_bell.ring();
            }
            Ok(Applied::Requeued(jobs)) => {
                for job in jobs {
                    self.shared.live.open(*job);
                    self.shared.meter().left(*job);
                }
            }
            Ok(Applied::Cancelled(cancelled)) if cancelled.before != cancelled.job.state => {
                self.ended(cancelled.job.id, cancelled.before);
            }
            Ok(Applied::Purged(Purged {
                jobs,
                files,
                next_ms,
            })) => {
                self.remove(files);
                // A whole chunk: there is more, and the next group goes on with it.
                let more = [*jobs, files.len()].contains(&self.purge_chunk);
                self.purge.looked(Instant::now(), now_ms, more, *next_ms);
                self.purge_chunk = PURGE_CHUNK;
            }
            Err(Error::NoSpace { .. }) if answer.is_none() => self.keep(change, now_ms),
            _ => {}
        }
        self.purge.something_ended(now_ms);
        if let Some(answer) = answer {
            let orphan = orphan(change, &applied);
            if answer.try_send(applied).is_err()
                && let Some(job) = orphan
            {
                self.orphaned = true;
                self.shared.left().cancel.push(job);
            }
        }
    }

    /// A job ended without its worker.
    fn ended(&self, job: JobId, before: State) {
        self.shared.live.close(job);
        self.shared.batch_bell.ring();
        if before == State::Running {
            self.shared.meter().left(job);
            self.shared.tell_cancelled(job);
        }
    }

    /// There is something to do at this time.
    fn wake_at(&mut self, time_ms: i64) {
        self.next_wake_ms = self.next_wake_ms.min(time_ms);
    }

    /// A change that nobody waits for is tried again with the next group, and what a time has come for a little later.
    fn keep(&mut self, change: &Change, now_ms: i64) {
        match change {
            Change::Cancel(id) => self.shared.left().cancel.push(*id),
            Change::Delivered(id) => self.shared.left().delivered.push(*id),
            Change::Wake { .. } => {
                self.next_wake_ms = now_ms.saturating_add(NO_SPACE_PAUSE_MS);
            }
            Change::Purge { limit, .. } => {
                self.purge_chunk = (limit / 2).max(1);
                self.purge.put_off(Instant::now(), now_ms, NO_SPACE_PAUSE);
            }
            _ => {}
        }
    }

    /// Files that the store has forgotten; on a thread of its own, because a large one takes the file system a while.
    fn remove(&self, stored_as: &[String]) {
        if stored_as.is_empty() {
            return;
        }
        let (files, names) = (self.files.clone(), stored_as.to_vec());
        let remove = move || names.iter().for_each(|name| files.remove(name));
        // What stays, also because the daemon ends, is swept away at the next start.
        let _ = std::thread::Builder::new()
            .name("woolly-queue-rm".to_owned())
            .spawn(remove);
    }
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
