//! The figures of reliability: every test here counts trials of one kind of mischief, prints one line, and
//! fails when a single trial went wrong.
//!
//! In an ordinary test run the counts are small. `tests/torture.sh` asks for larger ones with
//! `WOOLLY_TORTURE=short` or `long` and makes a table of the lines.

mod corruption;
mod hostile_paths;
mod kill_points;
mod no_space;
mod queue;
mod small_disk;
mod stale_model;
pub mod strace;
mod truncation;
mod warming;

/// How many trials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Part of every test run: a few seconds together.
    Smoke,
    /// A few minutes together.
    Short,
    Long,
}

pub fn scale() -> Scale {
    match std::env::var("WOOLLY_TORTURE").as_deref() {
        Ok("short") => Scale::Short,
        Ok("long") => Scale::Long,
        Ok(other) => panic!("WOOLLY_TORTURE is {other:?}, expected short or long"),
        Err(_) => Scale::Smoke,
    }
}

/// The count for the scale of this run.
pub fn pick(smoke: usize, short: usize, long: usize) -> usize {
    match scale() {
        Scale::Smoke => smoke,
        Scale::Short => short,
        Scale::Long => long,
    }
}

/// Why a trial went wrong; the sentence says enough to repeat it.
#[derive(Debug)]
pub enum Fault {
    /// Damage or failure was not noticed, or not told as documented.
    Unnoticed(String),
    /// A wrong value was used, a panic, a crash.
    Wrong(String),
    /// Something stayed behind that should not.
    Leftover(String),
}

pub type Trial = Result<(), Fault>;

/// Counts the trials of one figure.
#[must_use = "a figure that is not finished fails nobody"]
pub struct Figure {
    id: &'static str,
    what: &'static str,
    trials: usize,
    unnoticed: Vec<String>,
    wrong: Vec<String>,
    leftover: Vec<String>,
}

impl Figure {
    pub fn new(id: &'static str, what: &'static str) -> Self {
        Figure {
            id,
            what,
            trials: 0,
            unnoticed: vec![],
            wrong: vec![],
            leftover: vec![],
        }
    }

    /// Counts one trial.
    pub fn count(&mut self, trial: Trial) {
        self.trials += 1;
        match trial {
            Ok(()) => {}
            Err(Fault::Unnoticed(sentence)) => self.unnoticed.push(sentence),
            Err(Fault::Wrong(sentence)) => self.wrong.push(sentence),
            Err(Fault::Leftover(sentence)) => self.leftover.push(sentence),
        }
    }

    /// Prints the line of the table, and fails if any trial did or if there were fewer than `least`.
    #[track_caller]
    pub fn finish(self, least: usize) {
        let Figure {
            id, what, trials, ..
        } = self;
        let (wrong, leftover) = (self.wrong.len(), self.leftover.len());
        let detected = trials - self.unnoticed.len() - wrong - leftover;
        println!("\nfigure|{id}|{what}|{trials}|{detected}|{wrong}|{leftover}");
        let faults = [self.unnoticed, self.wrong, self.leftover].concat();
        let first: Vec<&String> = faults.iter().take(10).collect();
        assert!(
            faults.is_empty(),
            "{id}: {} of {trials} trials went wrong: {first:#?}",
            faults.len()
        );
        assert!(
            trials >= least,
            "{id}: {trials} trials, expected at least {least}"
        );
    }
}

/// `Wrong` unless it holds.
pub fn right(holds: bool, sentence: impl FnOnce() -> String) -> Trial {
    if holds {
        Ok(())
    } else {
        Err(Fault::Wrong(sentence()))
    }
}

/// A generator of test cases with a seed that can be printed.
pub fn random(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}
