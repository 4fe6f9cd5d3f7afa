//! R2: the daemon dies at every call that changes a file. Every thread counts its calls by itself, so each that changes
//! files is met alone; and what an undisturbed daemon was seen to do to its files must all have been the last call of
//! some daemon.

use std::collections::BTreeSet;

use crate::torture::{Scale, pick, scale, strace};

use super::calls::{Kind, missing};
use super::figure::{Faults, Figure};
use super::stage::Stage;
use super::traced::{Place, Point, Traced, recorded, trial};

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
const ANSWERS: [&str; 2] = ["writev", "sendto"];
/// Of one kind in one thread; the script makes fewer.
const MOST: usize = 2_000;
/// What is written of an upload is one call of one thread; which of them takes it is luck.
const UPLOADS: usize = 3;

#[test]
fn r2_killed_at_every_boundary() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R2", "kill -9 at every call that writes or syncs");
    let mut met = BTreeSet::new();
    let mut to_meet = BTreeSet::new();
    let places = [
        (Place::FirstMain, pick(MOST, 12, 1)),
        (Place::Next, pick(MOST, 9, 1)),
        (Place::Thread("woolly-queue"), pick(MOST, 24, 1)),
        (Place::Thread("woolly-batches"), pick(MOST, 2, 1)),
        (Place::Uploads, 1),
    ];
    for (place, step) in places {
        let made = recorded(place);
        let mut points = vec![];
        for call in pick_calls(&CALLS) {
            if made.iter().any(|kind| kind.call == *call) {
                let visited = sweep(&mut figure, place, call, step, &mut met);
                points.push(format!("{call} {visited}"));
            }
        }
        figure.note(format!(
            "{place:?}, every {step}. call: {}",
            points.join(", ")
        ));
        to_meet.extend(made);
    }
    if scale() != Scale::Smoke {
        to_meet.extend(recorded(Place::First));
        let step = pick(1, 9, 1);
        let answers = ANSWERS.map(|call| sweep(&mut figure, API, call, step, &mut met));
        figure.note(format!("every {step}. answer to a client: {answers:?}"));
    }
    let missing = missing(&to_meet, &met);
    figure.note(format!(
        "{} of {} kinds of calls by threads and files were the last of a daemon",
        to_meet.len() - missing.len(),
        to_meet.len()
    ));
    println!("{missing:#?}");
    if scale() == Scale::Long {
        figure.faults.wrong.extend(missing);
    }
    figure.finish(pick(5, 60, 600), pick(40, 400, 10_000));
}

/// Two of them tell in an ordinary test run whether this works at all.
fn pick_calls<'a>(calls: &'a [&'static str]) -> &'a [&'static str] {
    if scale() == Scale::Smoke {
        &["pwrite64", "fsync"]
    } else {
        calls
    }
}

/// Every so many calls of one kind; how many.
fn sweep(
    figure: &mut Figure,
    place: Place,
    call: &'static str,
    step: usize,
    met: &mut BTreeSet<Kind>,
) -> usize {
    let mut visit = |nth| {
        let point = Point {
            place,
            call,
            action: "signal=KILL",
            nth,
            until: nth,
        };
        trial(
            figure,
            point,
            |traced: &Traced, _: &Stage, faults: &mut Faults| {
                if traced.code.is_some() {
                    faults.wrong.push(format!("ended with {:?}", traced.code));
                }
                met.extend(traced.met.clone());
            },
        )
    };
    if place == Place::Uploads {
        let rounds = (0..pick(1, 1, 4)).flat_map(|_| 1..=pick(1, 2, UPLOADS));
        return rounds.filter(|&nth| visit(nth)).count();
    }
    let most = if place == API { MOST_ANSWERS } else { MOST };
    let every = (1..=most).step_by(step);
    every.take_while(|&nth| visit(nth)).count()
}
