//! R2: the daemon dies at every call that changes a file. Every thread counts its calls by itself, so each that changes
//! files is met alone; and what an undisturbed daemon was seen to do to its files must all have been the last call of
//! some daemon.

use crate::torture::{Scale, pick, scale, strace};

use super::figure::{Faults, Figure};
use super::stage::Stage;
use super::sweep::{MOST, Sweep};
use super::traced::{Place, Point, Traced};

/// Calls that change files.
const CALLS: [&str; 9] = [
    "pwrite64",
    "fdatasync",
    "fsync",
    "ftruncate",
    "unlink",
    "write",
    "rename",
    "mkdir",
    "openat",
];
/// Those that answer clients, and the threads that do; the script asks for more than it submits.
const API: Place = Place::Thread("woolly-api");
const MOST_ANSWERS: usize = 30;
const ANSWER: &str = "writev";

#[test]
fn r2_killed_at_every_boundary() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R2", "kill -9 at every call that writes or syncs");
    let mut sweep = Sweep::default();
    let places = [
        (Place::FirstMain, pick(MOST, 12, 1)),
        (Place::Next, pick(MOST, 9, 1)),
        (Place::Thread("woolly-queue"), pick(MOST, 24, 1)),
        (Place::Thread("woolly-batches"), pick(MOST, 2, 1)),
        (Place::Uploads, 1),
    ];
    // Two of them tell in an ordinary test run whether this works at all.
    let calls = if scale() == Scale::Smoke {
        &["pwrite64", "fsync"][..]
    } else {
        &CALLS
    };
    for (place, step) in places {
        let mut points = vec![];
        for call in sweep.calls(place, calls) {
            let visited = sweep.over(&mut figure, killed_at(place, call, MOST), step, judge);
            points.push(format!("{call} {visited}"));
        }
        figure.note(format!(
            "{place:?}, every {step}. call: {}",
            points.join(", ")
        ));
    }
    if scale() != Scale::Smoke {
        sweep.calls(Place::First, calls);
        let answers = killed_at(API, ANSWER, MOST_ANSWERS);
        let visited = sweep.over(&mut figure, answers, pick(1, 9, 1), judge);
        figure.note(format!("{visited} answers to clients"));
        if visited < pick(1, 3, MOST_ANSWERS) {
            let sentence = format!("the daemon died of {visited} answers only");
            figure.faults.wrong.push(sentence);
        }
    }
    sweep.end(&mut figure);
    figure.finish(pick(5, 60, 600), pick(40, 400, 10_000));
}

/// The first of so many.
fn killed_at(place: Place, call: &'static str, until: usize) -> Point {
    Point {
        place,
        call,
        action: "signal=KILL",
        nth: 1,
        until,
        only: None,
    }
}

fn judge(traced: &Traced, _: &Stage, faults: &mut Faults) {
    if traced.code.is_some() {
        faults.wrong.push(format!("ended with {:?}", traced.code));
    }
}
