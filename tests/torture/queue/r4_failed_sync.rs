//! R4: a sync fails. What was not synced is not known to be on disk, so the daemon answers nobody any more and ends.

use crate::torture::{pick, strace};

use super::figure::{Faults, Figure};
use super::ledger::Way;
use super::stage::Stage;
use super::submitters::fixed;
use super::traced::{Traced, trial, under_strace};
use super::work::CONFIG;

/// Jobs of this size fill the log of the database, which is then copied.
const LARGE: usize = 32 << 10;
const MOST_LARGE: usize = 1_000;

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

/// The commit has succeeded, and still the disk is not to be trusted any more.
#[test]
fn r4_a_sync_of_the_database_behind_a_commit() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R4", "EIO when the log is copied");
    let trials = pick(1, 2, 10);
    for _ in 0..trials {
        let stage = Stage::new(CONFIG);
        // Its syncs while it is made are another test's.
        stage.home.start().stop();
        let database = stage.home.path().join("state").join("queue.db");
        let database = database.canonicalize().unwrap();
        let options = [
            "-P",
            database.to_str().unwrap(),
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            "inject=fsync,fdatasync:error=EIO",
        ];
        let mut sent = 0;
        let (status, log, _) = under_strace(&stage.home, &options, |client| {
            client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
            let mut submitter = fixed(&stage, client);
            while sent < MOST_LARGE {
                let mark = stage.ledger.send(0, Way::Detached { keyed: true });
                if !matches!(submitter.submit_with(mark, true, LARGE), Ok(true)) {
                    break;
                }
                sent += 1;
            }
        });
        stage.forgive(|sentence| {
            sentence.contains(r#""code":"store""#) || sentence.contains("draining")
        });
        let mut faults = Faults::default();
        if status.code() != Some(74) || sent == MOST_LARGE {
            faults
                .wrong
                .push(format!("ended with {status} after {sent} jobs: {log}"));
        }
        figure.faults.add("copying", faults);
        let daemon = stage.home.start();
        let client = daemon.client();
        client
            .send("POST", "/v1/queue/resume", &[], b"")
            .expect(200);
        daemon.stop();
        let (accepted, found) = stage.finish();
        figure.trials += 1;
        figure.accepted += accepted;
        figure.faults.add("afterwards", found);
    }
    figure.finish(trials);
}
