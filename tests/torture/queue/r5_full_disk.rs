//! R5: the disk is full for a while. Clients are told, nothing that was accepted is lost, and when there is room again
//! everything goes on without a restart.
//!
//! `write` is left out where calls are made to fail: it also wakes threads, which no disk can keep it from. The real
//! full disk has it.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::torture::small_disk::SmallDisk;
use crate::torture::{Scale, pick, random, scale, strace};

use super::figure::{Faults, Figure};
use super::seed;
use super::stage::Stage;
use super::submitters::crowd;
use super::traced::{Place, Point, Traced, script, trial};
use super::work::CONFIG;

/// Of one kind in one thread; the script makes fewer.
const MOST: usize = 2_000;
/// Calls in a row that find the disk full.
const FULL_FOR: usize = 6;
/// Room for what the script leaves on the disk, several times over, and for what a daemon sets aside.
const DISK_KIB: usize = 8 << 10;
/// How long the disk is full, and how long not.
const SPELL_US: u64 = 60_000;

#[test]
fn r5_a_full_disk_is_waited_for() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R5", "ENOSPC at writes, and room again");
    let mut refused = 0;
    let places = [
        (
            Place::First,
            pick(500, 48, 12),
            &["pwrite64", "ftruncate"][..],
        ),
        // What it cuts gets shorter, which needs no room.
        (
            Place::Thread("woolly-queue"),
            pick(900, 96, 24),
            &["pwrite64"],
        ),
    ];
    for (place, step, calls) in places {
        for call in calls {
            for nth in (1..=MOST).step_by(step) {
                let point = Point {
                    place,
                    call,
                    action: "error=ENOSPC",
                    nth,
                    until: nth + FULL_FOR - 1,
                    only: None,
                };
                let judge = |traced: &Traced, _: &Stage, faults: &mut Faults| {
                    refused += traced.refused;
                    // Before it serves, a daemon that cannot write ends.
                    let serves = place != Place::First || traced.log.is_empty() || traced.broke;
                    if traced.code != Some(0) && (serves || traced.code != Some(74)) {
                        let sentence = format!("ended with {:?}: {}", traced.code, traced.log);
                        faults.wrong.push(sentence);
                    }
                };
                if !trial(&mut figure, point, judge) {
                    break;
                }
            }
        }
    }
    figure.note(format!(
        "{refused} requests were refused for lack of space, and accepted later"
    ));
    if scale() != Scale::Smoke && refused == 0 {
        let sentence = "nobody was told of the full disk";
        figure.faults.wrong.push(sentence.to_owned());
    }
    figure.finish(pick(3, 15, 60), pick(50, 300, 1_500));
}

#[test]
fn r5_a_disk_that_is_really_full() {
    let mut figure = Figure::new("R5", "disks that fill up, and are emptied");
    let trials = pick(1, 2, 20);
    let mut random = random(seed());
    let (mut refused, mut fillings) = (0, 0);
    for number in 0..trials {
        let Some((mut stage, disk)) = small() else {
            assert_eq!(scale(), Scale::Smoke, "mounting a file system needs root");
            return println!("skipped: mounting a file system needs root");
        };
        let daemon = stage.home.start();
        let client = daemon.client();
        let is_over = AtomicBool::new(false);
        let mut faults = Faults::default();
        thread::scope(|threads| {
            let worker = threads.spawn(|| {
                let done = script(&stage, &client);
                is_over.store(true, Ordering::Relaxed);
                done
            });
            let ballast = disk.path.join("ballast");
            while !is_over.load(Ordering::Relaxed) {
                fill(&ballast);
                // How long it lasts is the mischief.
                thread::sleep(Duration::from_micros(random(SPELL_US)));
                let health = client.send("GET", "/v1/jobs?limit=5", &[], b"");
                if health.status != 200 {
                    let sentence = format!("a full disk cannot be read: {}", health.status);
                    faults.wrong.push(sentence);
                }
                std::fs::remove_file(&ballast).unwrap();
                fillings += 1;
                thread::sleep(Duration::from_micros(random(SPELL_US)));
            }
            match worker.join().unwrap() {
                Ok(some) => refused += some,
                Err(gone) => faults.wrong.push(format!("the daemon went: {gone}")),
            }
        });
        daemon.signal(Signal::TERM);
        let (status, log) = daemon.end();
        if status.code() != Some(0) || log.contains("panicked") {
            faults.wrong.push(format!("ended with {status}: {log}"));
        }
        stage.look();
        let (accepted, found) = stage.end();
        // Before the directory that it is in.
        drop(disk);
        figure.trials += 1;
        figure.accepted += accepted;
        let case = format!("disk {number}");
        figure.faults.add(&case, faults);
        figure.faults.add(&case, found);
    }
    figure.note(format!(
        "{fillings} times a disk was filled; {refused} requests were refused for lack of space, and accepted later"
    ));
    if scale() != Scale::Smoke && refused == 0 {
        let sentence = "nobody was told of the full disk";
        figure.faults.wrong.push(sentence.to_owned());
    }
    figure.finish(trials, 30 * trials);
}

#[test]
fn r5_a_start_on_a_full_disk() {
    let mut figure = Figure::new("R5", "starts on a full disk");
    let trials = pick(2, 6, 40);
    let mut random = random(seed());
    for number in 0..trials {
        let Some((mut stage, disk)) = small() else {
            assert_eq!(scale(), Scale::Smoke, "mounting a file system needs root");
            return println!("skipped: mounting a file system needs root");
        };
        let daemon = stage.home.start();
        let budget = AtomicI64::new(60);
        let mut faults = Faults::default();
        let is_killed = number % 2 == 0;
        thread::scope(|threads| {
            crowd(threads, &stage, &daemon, &budget, &mut random);
            // The moment is the mischief.
            thread::sleep(Duration::from_micros(20_000 + random(200_000)));
            stage.ledger.ends(true);
            if is_killed {
                daemon.kill();
            } else {
                daemon.stop();
            }
        });
        stage.forgive(|sentence| sentence.contains("draining"));
        let ballast = disk.path.join("ballast");
        fill(&ballast);
        let daemon = stage.home.start();
        let client = daemon.client();
        let jobs = client.get("/v1/jobs?limit=5");
        if jobs.status != 200 {
            let sentence = format!("a full disk cannot be read: {}", jobs.status);
            faults.wrong.push(sentence);
        }
        std::fs::remove_file(&ballast).unwrap();
        stage.drain(&daemon);
        daemon.stop();
        let (accepted, found) = stage.end();
        drop(disk);
        figure.trials += 1;
        figure.accepted += accepted;
        let case = format!("disk {number}, killed: {is_killed}");
        figure.faults.add(&case, faults);
        figure.faults.add(&case, found);
    }
    figure.finish(trials, 2 * trials);
}

/// A stage whose state directory is a small disk, where mounting one is allowed. The disk goes before the directory that
/// it is in.
fn small() -> Option<(Stage, SmallDisk)> {
    let stage = Stage::new(CONFIG);
    let disk = SmallDisk::mount(&stage.home.path().join("state"))?;
    disk.resize(DISK_KIB);
    Some((stage, disk))
}

/// A file that leaves no room for anything else.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    let zeros = [0; 4_096];
    loop {
        match file.write_all(&zeros) {
            Ok(()) => {}
            Err(full) if full.kind() == ErrorKind::StorageFull => return,
            Err(other) => panic!("{other}"),
        }
    }
}
