//! The flags that say when a job runs, and before whom.

use clap::Args;

use crate::config::seconds_of;
use crate::protocol::JobRequest;

#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Queue")]
pub(super) struct Schedule {
    /// Run before jobs with lower numbers; 0 is usual
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    priority: i32,

    /// Do not start before this time: 90s, 2h or 3d from now, or @ and Unix seconds
    #[arg(long, value_name = "TIME", value_parser = moment)]
    not_before: Option<Moment>,

    /// Give the job up when it is not done by this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    deadline: Option<Moment>,

    /// Rather be refused now than miss the deadline, by the pace of the last jobs
    #[arg(long, requires = "deadline")]
    refuse_late: bool,

    /// Take the result of an equal job of yours, if there is one
    #[arg(long)]
    reuse: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Seconds from now.
    In(u64),
    /// Unix seconds.
    At(u64),
}

impl Moment {
    fn unix_seconds(self, now_s: u64) -> i64 {
        let seconds = match self {
            Moment::In(seconds) => now_s.saturating_add(seconds),
            Moment::At(seconds) => seconds,
        };
        i64::try_from(seconds).unwrap_or(i64::MAX)
    }
}

fn moment(text: &str) -> Result<Moment, String> {
    let moment = match text.strip_prefix('@') {
        Some(seconds) => seconds.parse().ok().map(Moment::At),
        None => seconds_of(text).map(Moment::In),
    };
    moment
        .ok_or_else(|| "expected a time from now such as 90s, 2h or 3d, or @1767225600".to_owned())
}

impl Schedule {
    /// Whether a time counts from now, and so is another one for the same command later.
    pub(super) fn counts_from_now(&self) -> bool {
        let times = [self.not_before, self.deadline];
        times.iter().any(|time| matches!(time, Some(Moment::In(_))))
    }

    /// Puts the flags into a request that is sent at `now_s` (Unix seconds).
    pub(super) fn put_into(&self, request: &mut JobRequest, now_s: u64) {
        request.priority = self.priority;
        request.not_before = self.not_before.map(|moment| moment.unix_seconds(now_s));
        request.deadline = self.deadline.map(|moment| moment.unix_seconds(now_s));
        request.refuse_late = self.refuse_late;
        if self.reuse {
            request.body.insert("reuse".into(), true.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use crate::job::Endpoint;

    use super::*;

    #[test]
    fn times_count_from_now_or_from_1970() {
        assert_eq!(moment("90s"), Ok(Moment::In(90)));
        assert_eq!(moment("2h").unwrap().unix_seconds(100), 7_300);
        assert_eq!(moment("@2000").unwrap().unix_seconds(100), 2_000);
        assert_eq!(Moment::In(u64::MAX).unix_seconds(1), i64::MAX);
        for text in ["", "soon", "@", "@-1", "@2h", "-3s"] {
            assert!(moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_become_fields() {
        let mut request = JobRequest::new(Endpoint::Completions, Map::new());
        Schedule::default().put_into(&mut request, 50);
        assert_eq!(request, JobRequest::new(Endpoint::Completions, Map::new()));
        let schedule = Schedule {
            priority: -3,
            not_before: Some(Moment::In(10)),
            deadline: Some(Moment::At(70)),
            refuse_late: true,
            reuse: true,
        };
        schedule.put_into(&mut request, 50);
        let json: serde_json::Value = serde_json::from_str(&request.to_json()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "endpoint": "/v1/completions", "body": {"reuse": true}, "priority": -3,
                "not_before": 60, "deadline": 70, "refuse_late": true,
            })
        );
    }
}
