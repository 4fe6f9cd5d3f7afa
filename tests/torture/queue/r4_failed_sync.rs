//! R4: a sync fails. What was not synced is not known to be on disk, so the daemon answers nobody any more and ends.

use std::cell::Cell;

use crate::support::http::Client;
use crate::torture::{Scale, pick, scale, strace};

use super::calls::{Kind, STORED, STORED_IN};
use super::figure::{Faults, Figure};
use super::ledger::Way;
use super::stage::Stage;
use super::submitters::fixed;
use super::sweep::{MOST, Sweep};
use super::threads::API;
use super::traced::{MAIN, Place, Point, Traced, trial_with, under_strace};
use super::work::CONFIG;

/// Jobs of this size fill the log of the database, which is then copied.
const LARGE: usize = 32 << 10;
const MOST_LARGE: usize = 1_000;

/// In which a daemon has to be gone after the failure.
const GONE_IN_S: f64 = 5.0;
const SYNCS: [&str; 2] = ["fsync", "fdatasync"];

#[test]
fn r4_a_sync_that_fails() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R4", "EIO at every sync");
    let slowest = Cell::new(0.0_f64);
    let mut sweep = Sweep::default();
    let places = [
        (Place::FirstMain, pick(MOST, 3, 1)),
        (Place::Next, pick(MOST, 5, 1)),
        (Place::Thread("woolly-queue"), pick(MOST, 12, 1)),
        (Place::Thread("woolly-batches"), pick(MOST, 1, 1)),
        (Place::Uploads, pick(MOST, 1, 1)),
    ];
    for (place, step) in places {
        for call in sweep.calls(place, &SYNCS) {
            let point = Point {
                place,
                call,
                action: "error=EIO",
                nth: 1,
                until: MOST,
                only: None,
            };
            sweep.over(&mut figure, point, step, |traced, stage, faults| {
                if traced.code == Some(74) {
                    slowest.set(slowest.get().max(traced.gone_after_s));
                }
                judge(traced, stage, faults);
            });
        }
    }
    if scale() != Scale::Smoke {
        sweep.calls(Place::First, &SYNCS);
    }
    sweep.end(&mut figure);
    figure.note(format!(
        "gone with 74 at most {:.2} s after the failure",
        slowest.get()
    ));
    figure.finish(pick(4, 15, 60), pick(40, 150, 1_000));
}

/// The file of an upload or of a batch's answers did not get to the disk: the client is told, or the batch tries again.
/// The store does not know of it yet.
fn is_passing(traced: &Traced) -> bool {
    let file = traced.met.as_ref().map(|kind| kind.file);
    file.is_some_and(|file| [STORED, STORED_IN].contains(&file))
}

/// While the main thread opens the store. A new database turns into one with a log, which SQLite tries again; nothing is
/// promised yet. And when it has made a journal or a log, it syncs the directory behind it and does not look at what
/// comes of that.
fn is_left_to_sqlite(traced: &Traced) -> bool {
    let file = |kind: &Option<Kind>| {
        let own = kind.as_ref().filter(|kind| kind.thread == MAIN);
        own.map(|kind| kind.file)
    };
    match file(&traced.met) {
        Some("its journal" | "the database") => true,
        Some("the state directory") => {
            matches!(file(&traced.before), Some("its journal" | "its log"))
        }
        _ => false,
    }
}

fn judge(traced: &Traced, stage: &Stage, faults: &mut Faults) {
    let Traced { code, met, .. } = traced;
    if is_passing(traced) {
        let by_client = met.as_ref().is_some_and(|kind| kind.thread == API);
        let told = stage.forgive(|sentence| sentence.contains("was answered 500"));
        if *code != Some(0) || told != usize::from(by_client) {
            let sentence = format!("{met:?}: ended with {code:?}, {told} told: {}", traced.log);
            faults.wrong.push(sentence);
        }
        return;
    }
    stage.forgive(|sentence| {
        sentence.contains(r#""code":"store""#) || sentence.contains("draining")
    });
    if *code == Some(0) && is_left_to_sqlite(traced) {
        return;
    }
    if *code != Some(74) || traced.gone_after_s > GONE_IN_S {
        let sentence = format!(
            "{met:?}: ended with {code:?} after {:.1} s: {}",
            traced.gone_after_s, traced.log
        );
        faults.wrong.push(sentence);
    }
    // Of one client that waits for every answer, one can be on its way. What a process wrote stays when it goes, so
    // the next daemon would have a job that was never on disk.
    let late = stage.ledger.book().accepted_after(traced.met_at_s);
    if late > 1 {
        let sentence = format!("{met:?}: {late} jobs were accepted after it");
        faults.wrong.push(sentence);
    }
}

/// While the queue is paused, nothing is written but what a client asks for; so nothing is accepted after the failure.
#[test]
fn r4_nobody_hears_yes_after_a_failed_sync() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R4", "EIO at a submit's sync, and no yes behind it");
    let trials = pick(1, 4, 20);
    for nth in 1..=trials {
        let point = Point {
            place: Place::Thread("woolly-queue"),
            call: "fsync",
            action: "error=EIO",
            nth: 1 + nth,
            until: 1 + nth,
            only: None,
        };
        let mut accepted = 0;
        let work = |stage: &Stage, client: &Client| -> std::io::Result<usize> {
            client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
            let mut submitter = fixed(stage, client);
            for request in 0..2 * trials {
                let mark = stage
                    .ledger
                    .send(request % stage.work.len(), Way::Detached { keyed: true });
                // Whoever is told no tries again, and may be told no again.
                let _ = submitter.submit(mark, true)?;
            }
            Ok(0)
        };
        let judge = |traced: &Traced, stage: &Stage, faults: &mut Faults| {
            stage.forgive(|sentence| {
                sentence.contains(r#""code":"store""#) || sentence.contains("draining")
            });
            let book = stage.ledger.book();
            accepted = book.accepted();
            let late = book.accepted_after(traced.met_at_s);
            if traced.code != Some(74) || late > 0 || accepted != nth - 1 {
                let sentence = format!(
                    "sync {nth}: ended with {:?}, {accepted} accepted, {late} of them after it: {}",
                    traced.code, traced.log
                );
                faults.wrong.push(sentence);
            }
            drop(book);
            resume(stage);
        };
        if !trial_with(&mut figure, point, work, judge) {
            break;
        }
    }
    // Where strace may not attach an ordinary test run is not to fail, and nothing else may stand in the way.
    if figure.trials > 0 || scale() != Scale::Smoke {
        figure.finish(trials, trials - 1);
    }
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
            "-f",
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
        resume(&stage);
        let (accepted, found) = stage.finish();
        figure.trials += 1;
        figure.accepted += accepted;
        figure.faults.add("afterwards", found);
    }
    figure.finish(trials, trials);
}

/// The next daemon: it would wait for its owner for ever.
fn resume(stage: &Stage) {
    let daemon = stage.home.start();
    let client = daemon.client();
    client
        .send("POST", "/v1/queue/resume", &[], b"")
        .expect(200);
    daemon.stop();
}
