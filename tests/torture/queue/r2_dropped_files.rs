//! R2 for the spool directory: the daemon dies at every call with which its thread takes a dropped file in and gives the
//! results out. Each rename is one of them. The next daemon goes on, and there is one batch, with the answers of an
//! undisturbed daemon.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::daemon_spool::{answers, batches, drop_file, home, lines, listing};
use crate::support::daemon::Home;
use crate::support::http::Client;
use crate::torture::{pick, strace};

use super::figure::{Faults, Figure};
use super::traced::{Place, live};

const THREAD: Place = Place::Thread("woolly-spool");
/// With which it makes, fills, names and removes files, and waits for disks.
const CALLS: [&str; 9] = [
    "openat",
    "write",
    "copy_file_range",
    "fchmod",
    "fchown",
    "linkat",
    "renameat2",
    "unlink",
    "fsync",
];
const LINES: usize = 6;
/// For the end of a batch.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn r2_killed_over_a_dropped_file() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R2", "kill -9 at every call over a dropped file");
    let (home, _) = home();
    let daemon = home.start();
    dropped(&home, &daemon.client());
    let golden = output(&home).expect("an undisturbed daemon");
    daemon.stop();

    let mut points = vec![];
    for call in CALLS {
        let most = pick(usize::from(call == "renameat2"), 2, usize::MAX);
        let met = (1..=most).take_while(|&nth| trial(&mut figure, call, nth, &golden));
        points.push((call, met.count()));
    }
    let renames = points.iter().find(|(call, _)| *call == "renameat2");
    // The file, its answers, and the mark that it is done.
    if renames.is_none_or(|(_, met)| *met < pick(0, 2, 3)) {
        let sentence = format!("a rename was not met: {points:?}");
        figure.faults.wrong.push(sentence);
    }
    let points: Vec<_> = points.iter().filter(|(_, met)| *met > 0).collect();
    figure.note(format!("by thread woolly-spool, met: {points:?}"));
    let least = pick(0, 8, 20);
    figure.finish(least, least * LINES);
}

/// Drops a file and waits for its end, or for that of the daemon.
fn dropped(home: &Home, client: &Client) {
    let spool = home.path().join("spool");
    drop_file(home, &spool, "a.jsonl", &lines(LINES));
    let done = spool.join("a.done");
    while !done.exists() && client.try_send("GET", "/health", &[], b"").is_ok() {
        std::thread::yield_now();
    }
}

type Answers = Vec<(String, serde_json::Value)>;

/// `None`: there is none.
fn output(home: &Home) -> Option<Answers> {
    let text = std::fs::read_to_string(home.path().join("spool/a.output.jsonl"));
    Some(answers(&text.ok()?))
}

/// Whether the call is made so often.
fn trial(figure: &mut Figure, call: &str, nth: usize, golden: &Answers) -> bool {
    let (home, spool) = home();
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:signal=KILL:when={nth}");
    let options = ["-e", &*trace, "-e", &inject];
    let Some((life, _)) = live(&home, THREAD, &options, |client| dropped(&home, client)) else {
        return false;
    };
    let is_dead = life.status.code().is_none();
    let mut faults = Faults::default();
    if life.said.contains("panicked") {
        faults.wrong.push(format!("a panic: {}", life.said));
    }
    if is_dead {
        look_at_the_next(&home, &spool, golden, &mut faults);
        figure.trials += 1;
        figure.accepted += LINES;
    }
    figure.faults.add(&format!("{call} {nth}"), faults);
    is_dead
}

fn look_at_the_next(home: &Home, spool: &Path, golden: &Answers, faults: &mut Faults) {
    let daemon = home.start();
    let deadline = Instant::now() + PATIENCE;
    while !spool.join("a.done").exists() {
        if Instant::now() > deadline {
            let sentence = format!("not done after {PATIENCE:?}: {:?}", listing(spool));
            return faults.lost.push(sentence);
        }
        std::thread::yield_now();
    }
    let batches = batches(&daemon.client()).len();
    // The note that the results are delivered follows their names.
    daemon.stop();
    if batches != 1 {
        faults.doubled.push(format!("{batches} batches"));
    }
    match output(home) {
        None => faults.lost.push("no answers".to_owned()),
        Some(found) if found != *golden => faults.differing.push(format!("{found:?}")),
        Some(_) => {}
    }
    let left: Vec<String> = listing(spool).into_iter().collect();
    if left != ["a.accepted", "a.done", "a.output.jsonl"] {
        faults.leftover.push(format!("{left:?}"));
    }
}
