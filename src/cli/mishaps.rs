//! What goes wrong with some of several jobs: the others are gone through all the same.

use super::Error;

/// Counts mishaps, and says each as it comes.
pub(super) struct Mishaps {
    jobs: usize,
    json: bool,
    count: usize,
    /// The highest exit code so far.
    code: u8,
}

impl Mishaps {
    pub(super) fn among(jobs: usize, json: bool) -> Self {
        Mishaps {
            jobs,
            json,
            count: 0,
            code: 0,
        }
    }

    /// A job that ended, and not well; its sentence was said.
    pub(super) fn count(&mut self) {
        self.count += 1;
        self.code = self.code.max(1);
    }

    /// Gives the error back when there is nothing to go on for: it was the only job, or nobody answers for the others
    /// either.
    pub(super) fn add(&mut self, error: Error) -> Result<(), Error> {
        if self.jobs == 1 {
            return Err(error);
        }
        let code = self.code.max(error.code());
        if error.is_outage() {
            let message = error.to_string();
            return Err(Error::Several { message, code });
        }
        error.tell("woollyctl", self.json);
        self.count += 1;
        self.code = code;
        Ok(())
    }

    /// An error with the highest exit code, if there was a mishap; `what` is what so many jobs did.
    pub(super) fn sum_up(self, what: &str) -> Result<(), Error> {
        if self.count == 0 {
            return Ok(());
        }
        Err(Error::Several {
            message: format!("{} of {} jobs {what}", self.count, self.jobs),
            code: self.code,
        })
    }
}
