//! One figure: trials, what was accepted in them, and everything that went wrong.

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

    /// Prints the line of the table, and fails if anything went wrong or if there were fewer than `least` trials.
    #[track_caller]
    pub fn finish(self, least: usize) {
        let Figure {
            id,
            what,
            trials,
            accepted,
            faults,
            notes,
        } = self;
        println!(
            "\nqueue|{id}|{what}|{trials}|{accepted}|{}|{}|{}|{}|{}",
            faults.lost.len(),
            faults.doubled.len(),
            faults.differing.len(),
            faults.leftover.len(),
            faults.wrong.len()
        );
        for note in notes {
            println!("note: {id}: {note}");
        }
        let seed = super::seed();
        let first: Vec<&String> = faults.all().take(10).collect();
        assert!(
            first.is_empty(),
            "{id}, WOOLLY_TORTURE_SEED={seed}: {} faults: {first:#?}",
            faults.count()
        );
        assert!(
            trials >= least,
            "{id}: {trials} trials, expected at least {least}"
        );
    }
}
