//! What a figure says of times.

use std::fmt;
use std::time::Duration;

/// The median and the 99th percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percentiles {
    pub half: Duration,
    pub most: Duration,
}

impl Percentiles {
    /// # Panics
    /// Without a single time.
    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        Percentiles {
            half: times[times.len() / 2],
            most: times[times.len() * 99 / 100],
        }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most] = [self.half, self.most].map(|time| time.as_secs_f64() * 1e3);
        write!(f, "{half:.2} ms (p50) and {most:.2} ms (p99)")
    }
}
