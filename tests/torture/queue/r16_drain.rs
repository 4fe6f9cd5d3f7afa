//! R16: SIGTERM while eight clients submit. Nothing is lost, nobody is blamed, and newcomers are told.

use std::sync::atomic::AtomicI64;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::torture::{pick, random};

use super::bounds::drained;
use super::figure::Figure;
use super::seed;
use super::stage::Stage;
use super::store_file::StoreFile;
use super::submitters::crowd;
use super::work::CONFIG;

/// One lets everything finish that runs, the other sends it back to the queue.
const TIMEOUTS_S: [u64; 2] = [5, 0];
/// Jobs that the clients of one cycle may send.
const NEW: i64 = 60;
/// Cycles of one directory.
const CYCLES: usize = 25;

#[test]
fn r16_sigterm_while_clients_submit() {
    let mut figure = Figure::new("R16", "SIGTERM while 8 clients submit");
    let cycles = pick(4, 20, 100);
    let mut random = random(seed());
    let (mut told, mut requeued) = (0, 0);
    let mut over = Duration::ZERO;
    for timeout_s in TIMEOUTS_S.into_iter().cycle() {
        let keys = format!("drain_timeout_s = {timeout_s}\n");
        let mut stage = Stage::with_daemon_keys(&keys, CONFIG);
        for _ in 0..CYCLES.min(cycles / 2) {
            let took = cycle(&mut stage, &mut figure, &mut random);
            over = over.max(took.saturating_sub(Duration::from_secs(timeout_s)));
            told += stage.forgive(|sentence| sentence.contains("draining"));
            requeued += stage.look();
            figure.trials += 1;
        }
        let (accepted, faults) = stage.finish();
        figure.accepted += accepted;
        let case = format!("drain_timeout_s = {timeout_s}");
        figure.faults.add(&case, faults);
        if figure.trials >= cycles {
            break;
        }
    }
    figure.note(format!(
        "{told} requests were told that the daemon is draining, {requeued} jobs were left to the next daemon"
    ));
    figure.hold(&drained(over));
    assert!(told > 0 && requeued > 0, "nothing was met while draining");
    figure.finish(cycles, 8 * cycles);
}

/// One life of a daemon; how long its end took.
fn cycle(stage: &mut Stage, figure: &mut Figure, random: &mut impl FnMut(u64) -> u64) -> Duration {
    let mut daemon = stage.home.start();
    let budget = AtomicI64::new(NEW);
    let mut took = Duration::ZERO;
    thread::scope(|threads| {
        crowd(threads, stage, &daemon, &budget, random);
        // The moment is the mischief.
        thread::sleep(Duration::from_micros(5_000 + random(200_000)));
        stage.ledger.ends(true);
        let began = Instant::now();
        daemon.signal(Signal::TERM);
        if !daemon.wait_for("STOPPING=1") {
            figure.faults.wrong.push("STOPPING=1 did not come".into());
        }
        let (status, log) = daemon.end();
        took = began.elapsed();
        if status.code() != Some(0) || log.contains("panicked") {
            figure
                .faults
                .wrong
                .push(format!("ended with {status}: {log}"));
        }
    });
    let file = StoreFile::copied(&stage.home.path().join("state"));
    for row in file.rows.iter().filter(|row| !row.is_ended()) {
        if row.state != "queued" || row.attempts + row.crashes > 0 {
            figure.faults.wrong.push(format!(
                "job {} is {} with {} attempts and {} crashes",
                row.id, row.state, row.attempts, row.crashes
            ));
        }
    }
    took
}
