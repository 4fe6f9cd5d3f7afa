//! Jobs and shorthands for the queue's tests.

use woolly::config;
use woolly::job::{Endpoint, JobId, Usage};
use woolly::queue::{
    Admission, Applied, Cancelled, Change, Claimed, Completion, Error, Finished, JobStore, Limits,
    NewJob, Purged, Reached, Submitted, Times, Woken,
};

/// A detached job whose body is `{"prompt":"<name>"}`.
pub(crate) fn detached(name: &str) -> NewJob {
    NewJob {
        endpoint: Endpoint::Completions,
        body: format!("{{\"prompt\":\"{name}\"}}").into_bytes(),
        seed: u64::MAX - 7,
        max_tokens: Some(u32::MAX),
        priority: 0,
        idempotency_key: None,
        uid: 1000,
        attached: false,
        metadata: None,
        created_at_ms: 1_700_000_000_000,
        times: Times::default(),
        refuse_late: false,
    }
}

pub(crate) fn attached(name: &str) -> NewJob {
    NewJob {
        attached: true,
        ..detached(name)
    }
}

pub(crate) fn keyed(job: NewJob, key: &str) -> NewJob {
    NewJob {
        idempotency_key: Some(key.to_owned()),
        ..job
    }
}

pub(crate) fn completed(text: &str) -> Completion {
    Completion::Completed {
        result: text.as_bytes().to_vec(),
        usage: Usage::new(5, 7),
        outline: format!("outline of {text}").into_bytes(),
        keep: None,
    }
}

pub(crate) fn failed(error: &str) -> Completion {
    Completion::Failed {
        error: error.to_owned(),
        refused: false,
        param: None,
    }
}

/// The answer to a purge that met no file, and left what has its time until then.
pub(crate) fn purged(jobs: usize, next_ms: Option<i64>) -> Applied {
    let files = vec![];
    Applied::Purged(Purged {
        jobs,
        files,
        next_ms,
    })
}

/// No limit but on the number of jobs.
pub(crate) fn limits(max_jobs: u64) -> Limits {
    Limits {
        max_jobs,
        max_bytes: None,
        max_jobs_per_user: None,
        max_bytes_per_user: None,
    }
}

/// How a queue refuses a job beyond `max_jobs`.
pub(crate) fn full(max_jobs: u64) -> Error {
    Error::Full(Reached::Jobs(max_jobs))
}

/// A queue with nothing else that a test could meet by chance.
pub(crate) const fn queue_config(max_jobs: u64, retention_s: u64) -> config::Queue {
    config::Queue {
        max_jobs,
        max_jobs_per_user: None,
        max_bytes: None,
        max_bytes_per_user: None,
        retention_s,
        poison_limit: 3,
        checkpoint_tokens: 64,
        reuse: false,
    }
}

pub(crate) fn admission(max_jobs: u64) -> Admission {
    Admission {
        limits: limits(max_jobs),
        pace: None,
    }
}

/// Single changes, each in a group of its own, with the answer unpacked.
pub(crate) trait Single {
    fn one(&mut self, change: Change, now_ms: i64) -> Result<Applied, Error>;

    fn submit(&mut self, job: NewJob) -> Result<Submitted, Error> {
        match self.one(
            Change::Submit {
                job,
                admission: admission(1_000_000),
            },
            0,
        )? {
            Applied::Submitted(submitted) => Ok(submitted),
            other => panic!("{other:?}"),
        }
    }

    fn accept(&mut self, job: NewJob) -> JobId {
        self.submit(job).unwrap().job.id
    }

    fn claim(&mut self, now_ms: i64) -> Option<Claimed> {
        match self.one(Change::Claim, now_ms).unwrap() {
            Applied::Claimed(claimed) => claimed,
            other => panic!("{other:?}"),
        }
    }

    /// Whether the end was published.
    fn finish(&mut self, id: JobId, completion: Completion, now_ms: i64) -> bool {
        self.end(id, completion, now_ms) == Finished::Published
    }

    fn end(&mut self, id: JobId, completion: Completion, now_ms: i64) -> Finished {
        match self.one(Change::Finish { id, completion }, now_ms).unwrap() {
            Applied::Finished(finished) => finished,
            other => panic!("{other:?}"),
        }
    }

    fn wake(&mut self, now_ms: i64) -> Woken {
        match self.one(Change::Wake { limit: 100 }, now_ms).unwrap() {
            Applied::Woken(woken) => woken,
            other => panic!("{other:?}"),
        }
    }

    fn requeue(&mut self, ids: &[JobId]) -> Vec<JobId> {
        match self.one(Change::Requeue(ids.to_vec()), 0).unwrap() {
            Applied::Requeued(ids) => ids,
            other => panic!("{other:?}"),
        }
    }

    fn cancel(&mut self, id: JobId, now_ms: i64) -> Result<Cancelled, Error> {
        match self.one(Change::Cancel(id), now_ms)? {
            Applied::Cancelled(cancelled) => Ok(cancelled),
            other => panic!("{other:?}"),
        }
    }

    fn delivered(&mut self, id: JobId) -> bool {
        match self.one(Change::Delivered(id), 0).unwrap() {
            Applied::Delivered(deleted) => deleted,
            other => panic!("{other:?}"),
        }
    }
}

impl<S: JobStore + ?Sized> Single for S {
    fn one(&mut self, change: Change, now_ms: i64) -> Result<Applied, Error> {
        let mut applied = self.apply(&[change], now_ms).unwrap();
        assert_eq!(applied.len(), 1);
        applied.remove(0)
    }
}
