//! R2: the daemon dies at every call that changes a file.

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
