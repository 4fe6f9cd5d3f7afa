//! One figure: trials, what was accepted in them, and everything that went wrong.

use crate::torture::{Scale, scale};

use super::bounds::{Bound, missed};

/// Sentences, by what they mean for who trusted the queue.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Accepted, and gone or not done.
    pub lost: Vec<String>,
    /// There more than once, or published again.
    pub doubled: Vec<String>,
    /// Another answer than that of an undisturbed run.
    pub differing: Vec<String>,
    /// Something stayed behind that should not.
    pub leftover: Vec<String>,
    /// Another exit code, status or number than documented.
    pub wrong: Vec<String>,
}

impl Faults {
    pub fn count(&self) -> usize {
        self.all().count()
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        let kinds = [
            &self.lost,
            &self.doubled,
            &self.differing,
            &self.leftover,
            &self.wrong,
        ];
        kinds.into_iter().flatten()
    }

    /// Takes the faults of one case over, and says which case that was.
    pub fn add(&mut self, case: &str, from: Faults) {
        let name = |sentences: Vec<String>| {
            sentences
                .into_iter()
                .map(|sentence| format!("{case}: {sentence}"))
                .collect::<Vec<_>>()
        };
        self.lost.extend(name(from.lost));
        self.doubled.extend(name(from.doubled));
        self.differing.extend(name(from.differing));
        self.leftover.extend(name(from.leftover));
        self.wrong.extend(name(from.wrong));
    }
}

#[must_use = "a figure that is not finished fails nobody"]
pub(super) struct Figure {
    id: &'static str,
    what: &'static str,
    pub trials: usize,
    pub accepted: usize,
    pub faults: Faults,
    notes: Vec<String>,
}

impl Figure {
    pub fn new(id: &'static str, what: &'static str) -> Self {
        Figure {
            id,
            what,
            trials: 0,
            accepted: 0,
            faults: Faults::default(),
            notes: Vec::new(),
        }
    }

    /// A sentence under the table.
    pub fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }

    /// Times and sizes that have to keep to bounds. They are said; only the long form, which has the machine to itself,
    /// fails when one is missed.
    pub fn hold(&mut self, bounds: &[Bound]) {
        let said: Vec<String> = bounds.iter().map(Bound::to_string).collect();
        self.note(said.join("; "));
        if scale() == Scale::Long {
            self.faults.wrong.extend(missed(bounds));
        }
    }

    /// Prints the line of the table, and fails if anything went wrong, or if there were fewer than `least` trials or
    /// fewer than `least_accepted` jobs were accepted in them.
    #[track_caller]
    pub fn finish(self, least: usize, least_accepted: usize) {
        let Figure {
            id,
            what,
            trials,
            accepted,
            ref faults,
            ..
        } = self;
        println!(
            "\nqueue|{id}|{what}|{trials}|{accepted}|{}|{}|{}|{}|{}",
            faults.lost.len(),
            faults.doubled.len(),
            faults.differing.len(),
            faults.leftover.len(),
            faults.wrong.len()
        );
        for note in &self.notes {
            println!("note: {id}: {note}");
        }
        if let Err(sentence) = self.verdict(least, least_accepted) {
            panic!("{sentence}");
        }
    }

    /// Why the figure fails, if it does.
    pub fn verdict(&self, least: usize, least_accepted: usize) -> Result<(), String> {
        let (id, seed) = (self.id, super::seed());
        let count = self.faults.count();
        let first: Vec<&String> = self.faults.all().take(10).collect();
        let Figure {
            trials, accepted, ..
        } = *self;
        let problem = if count > 0 {
            format!("{count} faults: {first:#?}")
        } else if trials < least || accepted < least_accepted {
            format!(
                "{trials} trials with {accepted} accepted jobs, expected at least {least} with {least_accepted}"
            )
        } else {
            return Ok(());
        };
        Err(format!("{id}, WOOLLY_TORTURE_SEED={seed}: {problem}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_trials_or_too_few_accepted_jobs_fail() {
        let mut figure = Figure::new("R0", "counted");
        (figure.trials, figure.accepted) = (3, 50);
        assert_eq!(figure.verdict(3, 50), Ok(()));
        assert!(figure.verdict(4, 50).is_err());
        assert!(figure.verdict(3, 51).unwrap_err().contains("SEED="));
    }
}
