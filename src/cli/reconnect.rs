//! What to do while the daemon is away: try again for a while, and say so.
//!
//! Repeating a request is safe because submits carry idempotency keys and everything else only reads.

use std::cell::Cell;
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::job::JobId;
use crate::protocol::JobRequest;

use super::Error;
use super::client::Client;
use super::wire::{self, Job};

const FIRST_DELAY: Duration = Duration::from_millis(100);
/// A restarted daemon is noticed this late at most.
const LONGEST_DELAY: Duration = Duration::from_secs(2);
/// Before another attempt where this user has as many connections as one may.
const CROWD_DELAY: Duration = Duration::from_millis(500);

/// How a line reaches the user; a progress bar has to step aside for it.
pub(super) type Say = Box<dyn Fn(&str)>;

/// A client that outlives restarts of its daemon.
pub(super) struct Link {
    client: Client,
    /// How long one outage may last.
    patience: Duration,
    say: Say,
    /// The daemon has answered at least once. Before that there is nothing to wait for.
    met: Cell<bool>,
    /// What the outage that was announced has taken, until it is back.
    lacks: Cell<Option<Lack>>,
    /// It was said that there are too many connections. Once is enough.
    told_of_crowd: Cell<bool>,
}

/// What an outage takes, from little to much: whatever shows the last shows that the first is there, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lack {
    /// Nobody answers.
    Answers,
    /// A daemon that is stopping tells about its jobs, but neither takes new ones in nor works on those it has. Its
    /// answers are no sign that it is back.
    Work,
}

impl Lack {
    /// What is lacking after another failure. Where nobody listens any more, whoever answers next is another daemon.
    fn after(lacks: Option<Lack>, error: &Error) -> Lack {
        match error {
            Error::Connect { .. } => Lack::Answers,
            Error::Stopping { .. } | Error::Refused { .. } => Lack::Work,
            _ => lacks.unwrap_or(Lack::Answers),
        }
    }
}

/// The delays of one outage.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    /// When the outage began, and the next delay.
    outage: Option<(Instant, Duration)>,
}

impl Backoff {
    /// How long to wait after an attempt from `started` to `now` failed; `None` when patience is out.
    /// An attempt that held longer than the longest delay was a connection, so its end is a new outage.
    fn next(&mut self, started: Instant, now: Instant, patience: Duration) -> Option<Duration> {
        if now.duration_since(started) > LONGEST_DELAY {
            self.outage = None;
        }
        let (began, delay) = self.outage.unwrap_or((now, FIRST_DELAY));
        let left = patience
            .checked_sub(now.duration_since(began))
            .filter(|left| !left.is_zero())?;
        self.outage = Some((began, (delay * 2).min(LONGEST_DELAY)));
        Some(delay.min(left))
    }
}

impl Link {
    pub(super) fn new(client: Client, patience: Duration, say: Say) -> Self {
        Link {
            client,
            patience,
            say,
            met: Cell::new(false),
            lacks: Cell::new(None),
            told_of_crowd: Cell::new(false),
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn say(&self, line: &str) {
        (self.say)(line);
    }

    /// The daemon answered.
    pub(super) fn answered(&self) {
        self.found(Lack::Answers);
    }

    /// The daemon took a job in, or has something new of one.
    pub(super) fn works(&self) {
        self.found(Lack::Work);
    }

    fn found(&self, there: Lack) {
        self.met.set(true);
        if self.lacks.get().is_some_and(|lacks| lacks <= there) {
            self.lacks.set(None);
            self.say("woollyd is back");
        }
    }

    /// Waits before the next attempt, or gives `error` back when there should be none: it is no outage,
    /// patience is out, or the daemon was never there and cannot have accepted anything. For a connection there is room
    /// sooner or later, however long that takes.
    pub(super) async fn pause(
        &self,
        backoff: &mut Backoff,
        started: Instant,
        error: Error,
    ) -> Result<(), Error> {
        if self.met.get() && error.is_crowd() {
            if !self.told_of_crowd.replace(true) {
                self.say(&format!("{error}; waiting"));
            }
            tokio::time::sleep(CROWD_DELAY).await;
            return Ok(());
        }
        let hopeless = !self.met.get() && !matches!(error, Error::Lost { .. });
        if !error.is_outage() || hopeless {
            return Err(error);
        }
        let Some(delay) = backoff.next(started, Instant::now(), self.patience) else {
            return Err(error);
        };
        let lacks = Lack::after(self.lacks.get(), &error);
        if self.lacks.replace(Some(lacks)).is_none() {
            let seconds = self.patience.as_secs();
            self.say(&format!("{error}; trying again for up to {seconds} s"));
        }
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Repeats `attempt` through outages.
    pub(super) async fn retry<T>(
        &self,
        mut attempt: impl AsyncFnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut backoff = Backoff::default();
        loop {
            let started = Instant::now();
            match attempt().await {
                Ok(value) => {
                    self.answered();
                    return Ok(value);
                }
                Err(error) => self.pause(&mut backoff, started, error).await?,
            }
        }
    }

    /// Submits a job under `key` and gives it as the daemon stored it.
    pub(super) async fn submit(&self, job: &JobRequest, key: &str) -> Result<Job, Error> {
        let job = self
            .retry(async || self.submit_once(job, key).await)
            .await?;
        self.works();
        Ok(job)
    }

    /// The same without a second attempt.
    pub(super) async fn submit_once(&self, job: &JobRequest, key: &str) -> Result<Job, Error> {
        read_job(
            self.client
                .post(wire::JOBS, job.to_json(), Some(key))
                .await?,
        )
    }

    pub(super) async fn job(&self, id: JobId) -> Result<Job, Error> {
        let path = wire::job_path(id);
        read_job(self.retry(async || self.client.get(&path).await).await?)
    }

    /// Not repeated: whoever cancels is waiting at a terminal.
    pub(super) async fn cancel(&self, id: JobId) -> Result<Job, Error> {
        let path = wire::cancel_path(id);
        read_job(self.client.post(&path, "{}".to_owned(), None).await?)
    }
}

fn read_job(answer: Value) -> Result<Job, Error> {
    let text = answer.to_string();
    Job::read(answer).ok_or_else(|| {
        let start: String = text.chars().take(120).collect();
        Error::Failed(format!(
            "woollyd answered with something that is no job: {start}"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_limit_and_end_with_patience() {
        let began = Instant::now();
        let patience = Duration::from_secs(5);
        let mut backoff = Backoff::default();
        let mut now = began;
        let mut delays = Vec::new();
        while let Some(delay) = backoff.next(now, now, patience) {
            delays.push(delay.as_millis());
            now += delay;
        }
        assert_eq!(delays, [100, 200, 400, 800, 1600, 1900]);
        assert_eq!(now.duration_since(began), patience);
    }

    #[test]
    fn a_daemon_that_is_stopping_is_not_back_with_its_next_answer_and_another_one_is() {
        let turned_away = Error::Refused {
            status: 503,
            message: String::new(),
            body: Value::Null,
        };
        let stopping = Error::Stopping {
            socket: String::new(),
            job: JobId(1),
        };
        let lost = Error::Lost {
            socket: String::new(),
            problem: String::new(),
        };
        let gone = Error::Connect {
            socket: String::new(),
            problem: String::new(),
        };
        assert_eq!(Lack::after(None, &lost), Lack::Answers);
        for error in [turned_away, stopping] {
            let lacks = Lack::after(Some(Lack::Answers), &error);
            assert_eq!(lacks, Lack::Work);
            assert_eq!(Lack::after(Some(lacks), &lost), Lack::Work);
            assert_eq!(Lack::after(Some(lacks), &gone), Lack::Answers);
        }
    }

    #[test]
    fn a_connection_that_held_makes_the_next_failure_a_new_outage() {
        let start = Instant::now();
        let patience = Duration::from_secs(5);
        let mut backoff = Backoff::default();
        backoff.next(start, start, patience).unwrap();
        let hour = Duration::from_secs(3600);
        assert_eq!(
            backoff.next(start, start + hour, patience),
            Some(FIRST_DELAY)
        );
    }
}
