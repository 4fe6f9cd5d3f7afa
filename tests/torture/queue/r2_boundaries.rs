//! R2: the daemon dies at every call that changes a file. R5: the disk is full for a while.

use crate::torture::{pick, strace};

use super::figure::{Faults, Figure};
use super::stage::Stage;
use super::traced::{Traced, trial};

/// Calls that change files, and those that answer clients.
const CALLS: [&str; 10] = [
    "pwrite64",
    "fdatasync",
    "fsync",
    "ftruncate",
    "unlink",
    "write",
    "rename",
    "mkdir",
    "fallocate",
    "openat",
];
/// Of one kind in one thread; the script makes fewer.
const MOST: usize = 2_000;
/// Calls in a row that find the disk full.
const FULL_FOR: usize = 6;

#[test]
fn r2_killed_at_every_boundary() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R2", "kill -9 at every call that writes or syncs");
    let step = pick(60, 12, 1);
    let mut points = vec![];
    for call in CALLS {
        let judge = |traced: &Traced, _: &Stage, faults: &mut Faults| {
            if traced.code.is_some() {
                faults.wrong.push(format!("ended with {:?}", traced.code));
            }
        };
        let visited = (1..=MOST)
            .step_by(step)
            .take_while(|&nth| trial(&mut figure, call, "signal=KILL", nth, nth, judge));
        points.push(format!("{call} {}", visited.count()));
    }
    figure.note(format!(
        "every {step}. call of each thread: {}",
        points.join(", ")
    ));
    figure.finish(pick(8, 40, 300));
}

#[test]
fn r5_a_full_disk_is_waited_for() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R5", "ENOSPC at writes, and room again");
    let mut refused = 0;
    for call in ["pwrite64", "ftruncate", "fallocate"] {
        for nth in (1..=MOST).step_by(pick(80, 24, 8)) {
            let refusals = std::cell::Cell::new(0);
            let judge = |traced: &Traced, _: &Stage, faults: &mut Faults| {
                refusals.set(traced.refused);
                // Before it serves, a daemon that cannot write ends.
                let serves = traced.log.is_empty();
                if traced.code != Some(0) && (serves || traced.code != Some(74)) {
                    let sentence = format!("ended with {:?}: {}", traced.code, traced.log);
                    faults.wrong.push(sentence);
                }
            };
            let until = nth + FULL_FOR - 1;
            if !trial(&mut figure, call, "error=ENOSPC", nth, until, judge) {
                break;
            }
            refused += refusals.get();
        }
    }
    figure.note(format!(
        "{refused} requests were refused for lack of space, and accepted later"
    ));
    figure.finish(pick(3, 15, 60));
}
