//! R4: a sync fails. What was not synced is not known to be on disk, so the daemon answers nobody any more and ends.

use crate::torture::{pick, strace};

use super::figure::{Faults, Figure};
use super::stage::Stage;
use super::traced::{Traced, trial};

/// In which a daemon has to be gone after the failure.
const GONE_IN_S: f64 = 5.0;
/// Of one thread; the script makes fewer.
const MOST: usize = 500;

#[test]
fn r4_a_sync_that_fails() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R4", "EIO at every sync");
    let mut slowest: f64 = 0.0;
    for call in ["fsync", "fdatasync"] {
        for nth in (1..=MOST).step_by(pick(30, 4, 1)) {
            let took = std::cell::Cell::new(0.0);
            let judge = |traced: &Traced, stage: &Stage, faults: &mut Faults| {
                // Nobody is told that a job was accepted any more; I1 to I7 hold what was said against the file.
                stage.forgive(|sentence| {
                    sentence.contains(r#""code":"store""#) || sentence.contains("draining")
                });
                took.set(traced.gone_after_s.unwrap_or(f64::INFINITY));
                // A new database turns into one with a log. SQLite tries that again, and nothing is promised yet.
                let is_tried_again = traced
                    .failing
                    .as_ref()
                    .is_some_and(|call| call.contains("queue.db-journal"));
                if traced.code == Some(0) && is_tried_again {
                    return;
                }
                if traced.code != Some(74) || took.get() > GONE_IN_S {
                    let sentence = format!(
                        "{:?}: ended with {:?} after {:.1} s: {}",
                        traced.failing,
                        traced.code,
                        took.get(),
                        traced.log
                    );
                    faults.wrong.push(sentence);
                }
            };
            if !trial(&mut figure, call, "error=EIO", nth, nth, judge) {
                break;
            }
            slowest = slowest.max(took.get());
        }
    }
    figure.note(format!(
        "gone with 74 at most {slowest:.2} s after the failure"
    ));
    figure.finish(pick(2, 15, 60));
}
