//! R1: `kill -9` at random points, while eight clients submit.

use std::sync::atomic::AtomicI64;
use std::thread;
use std::time::{Duration, Instant};

use crate::torture::{pick, random};

use super::bounds;
use super::figure::Figure;
use super::percentiles::Percentiles;
use super::seed;
use super::stage::Stage;
use super::submitters::crowd;
use super::work::CONFIG;

/// Jobs that wait or run at every kill that counts.
const IN_FLIGHT: usize = 64;
/// What the clients fill the queue up to.
const TARGET: usize = 200;
/// New jobs between two kills, whatever waits.
const NEW: usize = 45;
/// Kills of one directory.
const KILLS: usize = 50;
/// Kills that do not count, for each that does; with more of them clients are not served.
const MOST_UNCOUNTED: usize = 3;

#[test]
fn r1_kill_9_at_random_points() {
    let mut figure = Figure::new("R1", "kill -9 at random points, 8 submitters");
    let trials = pick(4, 60, 2_000);
    let mut fewest = usize::MAX;
    let mut most = 0;
    let mut uncounted = 0;
    let mut starts = Vec::new();
    for directory in 0.. {
        let mut kills = 0;
        let mut random = random(seed().wrapping_add(directory << 32));
        let mut stage = Stage::new(CONFIG);
        let mut waiting = 0;
        while figure.trials < trials && kills < KILLS {
            let submits = waiting < 2 * TARGET;
            starts.extend(life_and_death(&stage, waiting, submits, &mut random));
            waiting = stage.look();
            kills += 1;
            if waiting < IN_FLIGHT {
                uncounted += 1;
                if uncounted > MOST_UNCOUNTED * trials {
                    let sentence = format!("after {uncounted} kills only {waiting} jobs wait");
                    figure.faults.wrong.push(sentence);
                    break;
                }
                continue;
            }
            fewest = fewest.min(waiting);
            most = most.max(waiting);
            figure.trials += 1;
        }
        let (accepted, faults) = stage.finish();
        figure.accepted += accepted;
        figure.faults.add(&format!("directory {directory}"), faults);
        if figure.trials >= trials || !figure.faults.wrong.is_empty() {
            break;
        }
    }
    figure.note(format!(
        "from {fewest} to {most} jobs waited or ran at each kill; {uncounted} kills with fewer than {IN_FLIGHT} do not count"
    ));
    let starts = Percentiles::of(starts);
    figure.note(format!(
        "a daemon is ready after {starts}, with what the one before has left"
    ));
    figure.hold(&bounds::restarted(&starts));
    figure.finish(trials, pick(40, 600, 50_000));
}

/// One life of a daemon. One in eight is killed while it starts, the others 5 to 300 ms after they serve: after how
/// long.
fn life_and_death(
    stage: &Stage,
    waiting: usize,
    submits: bool,
    random: &mut impl FnMut(u64) -> u64,
) -> Option<Duration> {
    let began = Instant::now();
    let mut daemon = stage.home.spawn();
    if waiting >= IN_FLIGHT && random(8) == 0 {
        thread::sleep(Duration::from_micros(random(60_000)));
        daemon.kill();
        return None;
    }
    assert!(
        daemon.wait_for("READY=1"),
        "WOOLLY_TORTURE_SEED={}: {}",
        seed(),
        daemon.end().1
    );
    let start = began.elapsed();
    let new = if submits {
        TARGET.saturating_sub(waiting).max(NEW)
    } else {
        0
    };
    let budget = AtomicI64::new(new as i64);
    thread::scope(|threads| {
        crowd(threads, stage, &daemon, &budget, random);
        // The moment is the mischief.
        thread::sleep(Duration::from_micros(5_000 + random(295_000)));
        stage.ledger.ends(true);
        daemon.kill();
    });
    Some(start)
}
