//! Benchmarks: what this machine reaches, as ratios within one run.
//!
//! On a shared machine a figure in seconds or bytes per second says little: it may double from one minute
//! to the next. So whatever is measured is measured in turns with its yardstick (A, B, A, B, ...), and the
//! ratio of each turn is kept: its median, its smallest and its largest.
//!
//! - `verb`: what can be asked for, for `woollyctl bench` and `fast_fp32_benchmark` alike.
//! - `samples`: turns, medians, ratios; `table`: rows for people.
//! - `scratch`: a directory that is gone at the end, whatever the end is.
//! - `machine`: which machine it was; `roofline`: its limits.
//! - `load`: everything between a model's file and a model that could answer.
//! - `speed`: prompts, generation, batches and depths on a model.
//!
//! Invariant: measures what the daemon runs, through the same entry points; nothing here is a second
//! implementation of anything but the yardsticks.

mod error;
mod load;
mod machine;
mod roofline;
mod samples;
mod scratch;
mod speed;
mod table;
mod verb;

pub use error::Error;
pub use speed::Speed;
pub use verb::Verb;
