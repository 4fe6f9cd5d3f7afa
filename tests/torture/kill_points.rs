//! R9: the builder is killed before every call that changes the directory, and several builders start at once.

use std::process::Child;

use woolly::cache::{Directory, Kind};

use crate::support::cli::{Said, WOOLLYCTL, command};

use super::strace;
use super::warming::{Warming, model};
use super::{Fault, Figure, Trial, pick, right};

const CALLS: [&str; 12] = [
    "mkdir",
    "openat",
    "flock",
    "fallocate",
    "pwrite64",
    "fsync",
    "fdatasync",
    "linkat",
    "rename",
    "unlink",
    "write",
    "close",
];
/// Calls of one kind in one thread.
const MOST: usize = 500;
/// Processes that start at once.
const AT_ONCE: usize = 4;

#[test]
fn r9_a_builder_may_be_killed_anywhere() {
    if !strace::is_there() {
        return;
    }
    let warming = Warming::new();
    let mut figure = Figure::new("R9", "kill -9 at every step of a cache build");
    let step = pick(9, 1, 1);
    for call in CALLS {
        for nth in (1..=MOST).step_by(step) {
            let dir = warming.fresh();
            let arguments = ["cache", "warm", &model(), "--dir", dir.to_str().unwrap()];
            let log = warming.root().join("strace.log");
            let traced = strace::woollyctl(&arguments, call, "signal=KILL", nth, &log);
            if traced.injected.is_empty() {
                break;
            }
            let case = format!("killed at {call} {nth}");
            let trial = right(traced.said.code.is_none(), || {
                format!("{case}: {:?}", traced.said)
            })
            .and_then(|()| warming.is_whole(&dir, &case))
            .and_then(|()| at_most_one_temporary(&dir, &case))
            .and_then(|()| warming.recovers(&dir, &case));
            figure.count(trial);
        }
    }
    figure.finish(pick(20, 120, 120));
}

fn at_most_one_temporary(dir: &std::path::Path, case: &str) -> Trial {
    if !dir.exists() {
        return Ok(());
    }
    let items = Directory::open(dir).unwrap().survey().unwrap();
    let count = items
        .iter()
        .filter(|item| matches!(item.kind, Kind::Temporary))
        .count();
    if count <= 1 {
        Ok(())
    } else {
        Err(Fault::Leftover(format!("{case}: {count} temporaries")))
    }
}

#[test]
fn r9_of_several_builders_one_builds() {
    let warming = Warming::new();
    let mut figure = Figure::new("R9", "4 processes at once, 1 build");
    let trials = pick(3, 50, 500);
    for trial in 0..trials {
        let dir = warming.fresh();
        let model = model();
        let arguments = [
            "cache",
            "warm",
            &model,
            "--json",
            "--dir",
            dir.to_str().unwrap(),
        ];
        let start = |_| command(WOOLLYCTL, &arguments).spawn().unwrap();
        let children: Vec<Child> = (0..AT_ONCE).map(start).collect();
        let said = children
            .into_iter()
            .map(|child| Said::from(child.wait_with_output().unwrap()));
        let said: Vec<Said> = said.collect();
        let case = format!("round {trial}");
        let built = said
            .iter()
            .filter(|said| said.out.contains("\"from_cache\":false"))
            .count();
        let done = said.iter().all(|said| said.code == Some(0));
        figure.count(
            right(done && built == 1, || {
                format!("{case}: {built} builds, {said:?}")
            })
            .and_then(|()| warming.is_tidy(&dir, &case)),
        );
    }
    figure.finish(trials);
}
