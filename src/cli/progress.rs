//! Progress on standard error: a bar at a terminal, a plain line every tenth of the way elsewhere.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::weights::{self, Work};

use super::interrupt::Interrupt;
use super::render;

/// Plain lines come when this many percent more are done.
const STEP_PERCENT: u64 = 10;

/// Between two drawings of a bar, whether anything was done or not.
const TICK: Duration = Duration::from_millis(250);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Lines,
}

/// One task of known length.
pub(super) struct Meter {
    what: String,
    unit: Unit,
    /// Hidden when there is no terminal; it keeps the position and the time either way.
    bar: ProgressBar,
    /// Percent of the last plain line; `None` at a terminal.
    plain: Option<Mutex<u64>>,
}

impl Meter {
    pub(super) fn new(what: &str, unit: Unit, total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let counts = match unit {
            Unit::Bytes => "{bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            Unit::Lines => "{pos} of {len} lines{msg}",
        };
        let template = format!("{{prefix}} [{{bar:32}}] {counts}");
        let style = ProgressStyle::with_template(&template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(Some(total), target)
            .with_style(style)
            .with_prefix(what.to_owned());
        if terminal {
            // At once and again and again: the first line of a batch may take minutes.
            bar.tick();
            bar.enable_steady_tick(TICK);
        }
        let plain = (!terminal).then(|| Mutex::new(0));
        Meter {
            what: what.to_owned(),
            unit,
            bar,
            plain,
        }
    }

    pub(super) fn advance(&self, by: u64) {
        self.bar.inc(by);
        let Some(plain) = &self.plain else { return };
        let (done, total) = (self.bar.position(), self.bar.length().unwrap_or(0));
        let mut last = plain.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(percent) = next_step(*last, done, total) {
            *last = percent;
            render::say(self.line(percent, done, total));
        }
    }

    /// Stands behind the count of lines from now on.
    pub(super) fn note(&self, text: &str) {
        let comma = if text.is_empty() { "" } else { ", " };
        self.bar.set_message(format!("{comma}{text}"));
    }

    /// A line that the bar steps aside for.
    pub(super) fn say(&self, line: &str) {
        self.bar.suspend(|| render::say(line));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, percent: u64, done: u64, total: u64) -> String {
        let counts = match self.unit {
            Unit::Bytes => {
                let elapsed = self.bar.elapsed();
                let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
                let left = elapsed.mul_f64(total.saturating_sub(done) as f64 / done.max(1) as f64);
                format!(
                    "{} of {}, {}/s, {} left",
                    HumanBytes(done),
                    HumanBytes(total),
                    HumanBytes(rate as u64),
                    HumanDuration(left)
                )
            }
            Unit::Lines => format!("{done} of {total} lines{}", self.bar.message()),
        };
        format!("{}: {percent}% ({counts})", self.what)
    }
}

/// The percentage to print, if it lies a step beyond the `last` one.
fn next_step(last: u64, done: u64, total: u64) -> Option<u64> {
    let percent = u64::try_from(u128::from(done) * 100 / u128::from(total.max(1)))
        .unwrap_or(100)
        .min(100);
    (percent / STEP_PERCENT > last / STEP_PERCENT).then_some(percent)
}

/// The long works on the way to a model's weights; shows nothing when there are none.
pub(super) struct Conversion {
    /// The model, or what is made; `None` keeps silent.
    what: Option<String>,
    meter: Mutex<Option<Arc<Meter>>>,
    /// Stops it when it has come.
    interrupt: Option<Interrupt>,
}

impl Conversion {
    pub(super) fn of(model: &Path) -> Self {
        let name = model.file_name().unwrap_or(model.as_os_str());
        Conversion {
            what: Some(name.display().to_string()),
            ..Self::silent()
        }
    }

    /// The same, until a signal comes.
    pub(super) fn until(self, interrupt: &Interrupt) -> Self {
        Conversion {
            interrupt: Some(interrupt.clone()),
            ..self
        }
    }

    pub(super) fn silent() -> Self {
        Conversion {
            what: None,
            meter: Mutex::default(),
            interrupt: None,
        }
    }

    fn meter(&self) -> MutexGuard<'_, Option<Arc<Meter>>> {
        self.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl weights::Progress for Conversion {
    fn begin(&self, work: Work, total_bytes: u64) {
        if let Some(what) = &self.what {
            let verb = match work {
                Work::Reading => "reading",
                Work::Making => "converting",
                Work::Verifying => "verifying",
                Work::Unpacking => "writing",
            };
            let meter = Meter::new(&format!("{verb} {what}"), Unit::Bytes, total_bytes);
            *self.meter() = Some(Arc::new(meter));
        }
    }

    fn advance(&self, bytes: u64) {
        let meter = self.meter().clone();
        if let Some(meter) = meter {
            meter.advance(bytes);
        }
    }

    fn finish(&self) {
        if let Some(meter) = self.meter().take() {
            meter.finish();
        }
    }

    fn is_stopped(&self) -> bool {
        self.interrupt.as_ref().is_some_and(Interrupt::has_come)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_with_every_tenth_and_only_once() {
        assert_eq!(next_step(0, 9, 100), None);
        assert_eq!(next_step(0, 10, 100), Some(10));
        assert_eq!(next_step(10, 19, 100), None);
        assert_eq!(next_step(10, 45, 100), Some(45));
        assert_eq!(next_step(45, 49, 100), None);
        assert_eq!(next_step(90, 100, 100), Some(100));
        assert_eq!(next_step(100, 120, 100), None);
        assert_eq!(next_step(0, u64::MAX, u64::MAX), Some(100));
        assert_eq!(next_step(0, 0, 0), None);
    }
}
