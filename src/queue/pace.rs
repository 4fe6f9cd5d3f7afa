//! How fast the queue gets on, and what follows for those who wait: pure.
//!
//! By Little's law the jobs that run at once, divided by the time that one takes, are the jobs that end in that time.
//! Both are measured at the ends of jobs, so that times without work do not count.
//!
//! Invariant: knows jobs as numbers and times only, and reads no clock. What is measured is measured by the clock that
//! nobody sets.

use std::collections::HashMap;
use std::time::Instant;

use crate::job::JobId;

use super::row::Times;

/// Each end counts for so much against all before it: about the last 20 jobs decide.
const WEIGHT: f64 = 0.1;

/// What was measured lately.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Milliseconds from the start of a job to its end.
    pub run_ms: f64,
    /// Jobs that run at once.
    pub at_once: f64,
}

/// When a job starts and ends, in Unix milliseconds, if the queue goes on as it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    pub start_ms: i64,
    pub finish_ms: i64,
}

impl Pace {
    /// Of a job that waits behind `ahead` others, while `running` run.
    pub fn of_waiting(&self, ahead: u64, running: u64, times: Times, now_ms: i64) -> Estimate {
        let free = (self.at_once.round() as u64).saturating_sub(running);
        let before = (ahead + 1).saturating_sub(free);
        let wait_ms = before as f64 * self.run_ms / self.at_once.max(1.0);
        let start_ms = now_ms
            .saturating_add(wait_ms as i64)
            .max(times.not_before_ms.unwrap_or(i64::MIN));
        Estimate {
            start_ms,
            finish_ms: start_ms.saturating_add(self.run_ms as i64),
        }
    }

    /// Of a job that runs since `started_ms`.
    pub fn of_running(&self, started_ms: i64, now_ms: i64) -> Estimate {
        let finish_ms = started_ms.saturating_add(self.run_ms as i64);
        Estimate {
            start_ms: started_ms,
            finish_ms: finish_ms.max(now_ms),
        }
    }
}

/// Measures it.
#[derive(Debug, Default)]
pub struct Meter {
    /// When each running job started.
    running: HashMap<JobId, Instant>,
    pace: Option<Pace>,
}

impl Meter {
    pub fn started(&mut self, job: JobId, now: Instant) {
        self.running.insert(job, now);
    }

    /// It does not run any more, and its end says nothing about the pace.
    pub fn left(&mut self, job: JobId) {
        self.running.remove(&job);
    }

    /// Jobs that run.
    pub fn running(&self) -> u64 {
        self.running.len() as u64
    }

    pub fn completed(&mut self, job: JobId, now: Instant) {
        let at_once = self.running.len() as f64;
        let Some(started) = self.running.remove(&job) else {
            return;
        };
        let run_ms = now.duration_since(started).as_secs_f64() * 1_000.0;
        let mix = |old: f64, new: f64| old + (new - old) * WEIGHT;
        self.pace = Some(match self.pace {
            None => Pace { run_ms, at_once },
            Some(pace) => Pace {
                run_ms: mix(pace.run_ms, run_ms),
                at_once: mix(pace.at_once, at_once),
            },
        });
    }

    /// `None` before the first job of this daemon has completed.
    pub fn pace(&self) -> Option<Pace> {
        self.pace
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const PACE: Pace = Pace {
        run_ms: 8_000.0,
        at_once: 4.0,
    };

    fn waiting(ahead: u64, running: u64, not_before_ms: Option<i64>) -> Estimate {
        let times = Times {
            not_before_ms,
            deadline_ms: None,
        };
        PACE.of_waiting(ahead, running, times, 1_000)
    }

    #[test]
    fn who_waits_starts_when_enough_have_ended() {
        let at = |start_ms| Estimate {
            start_ms,
            finish_ms: start_ms + 8_000,
        };
        // Room for one now, for the next after a quarter of a run.
        assert_eq!(waiting(0, 3, None), at(1_000));
        assert_eq!(waiting(0, 4, None), at(3_000));
        assert_eq!(waiting(1, 3, None), at(3_000));
        assert_eq!(waiting(9, 4, None), at(21_000));
        assert_eq!(waiting(0, 4, Some(50_000)), at(50_000));
        assert_eq!(waiting(u64::MAX - 1, 0, None).start_ms, i64::MAX);
    }

    #[test]
    fn who_runs_ends_not_before_now() {
        let finish = |now_ms| PACE.of_running(500, now_ms).finish_ms;
        assert_eq!((finish(1_000), finish(20_000)), (8_500, 20_000));
    }

    #[test]
    fn the_last_jobs_decide() {
        let mut meter = Meter::default();
        assert_eq!(meter.pace(), None);
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        meter.completed(JobId(9), after(5));
        assert_eq!(meter.pace(), None, "never started");
        for id in 0..2 {
            meter.started(JobId(id), start);
        }
        meter.completed(JobId(0), after(100));
        let first = Pace {
            run_ms: 100.0,
            at_once: 2.0,
        };
        assert_eq!(meter.pace(), Some(first));
        assert_eq!(meter.running(), 1);
        meter.left(JobId(1));
        for id in 2..202 {
            meter.started(JobId(id), start);
            meter.completed(JobId(id), after(700));
        }
        let pace = meter.pace().unwrap();
        assert!(
            (pace.run_ms - 700.0).abs() < 0.1 && (pace.at_once - 1.0).abs() < 0.1,
            "{pace:?}"
        );
    }
}
