//! R22: a daemon that may open few files, and more clients than that. It waits without spinning, what it works at goes
//! on, and it is back as soon as there is room.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};

use crate::support::daemon::Daemon;
use crate::torture::{Scale, pick, scale};

use super::bounds::waited;
use super::figure::Figure;
use super::ledger::Way;
use super::stage::Stage;
use super::submitters::fixed;
use super::work::CONFIG;

const FILES: &str = "--nofile=64:64";
/// Connections that say nothing.
const IDLE: usize = 100;
const JOBS: usize = 12;
/// For jobs that were accepted before.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the processor time of a daemon without files is watched.
const WATCHED: Duration = Duration::from_millis(500);

#[test]
fn r22_more_clients_than_files() {
    if std::process::Command::new("prlimit")
        .arg("--version")
        .output()
        .is_err()
    {
        assert_eq!(scale(), Scale::Smoke, "prlimit is needed");
        println!("skipped: prlimit is not there");
        return;
    }
    let mut figure = Figure::new("R22", "100 idle clients, 64 files");
    let (mut busiest, mut slowest) = (0.0_f64, Duration::ZERO);
    let trials = pick(1, 3, 20);
    for _ in 0..trials {
        let stage = Stage::new(CONFIG);
        let mut daemon = stage.home.spawn_under(&["prlimit", FILES]);
        assert!(daemon.wait_for("READY=1"));
        let client = daemon.client();
        let mut submitter = fixed(&stage, &client);
        let mut send = || {
            for number in 0..JOBS {
                let mark = stage.ledger.send(number, Way::Detached { keyed: true });
                submitter.submit(mark, true).unwrap();
            }
        };
        send();
        let idle: Vec<UnixStream> = (0..IDLE)
            .map(|_| UnixStream::connect(stage.home.socket()).unwrap())
            .collect();
        // The jobs that were submitted before end meanwhile.
        work_ends(&stage);
        let before = processor_s(&daemon);
        thread::sleep(WATCHED);
        let busy = (processor_s(&daemon) - before) / WATCHED.as_secs_f64();
        busiest = busiest.max(busy);
        drop(idle);
        let began = Instant::now();
        client.get("/v1/jobs?limit=1").expect(200);
        slowest = slowest.max(began.elapsed());
        send();
        let log = daemon.stop();
        if log.contains("panicked") {
            figure.faults.wrong.push(log);
        }
        let (accepted, faults) = stage.finish();
        figure.trials += 1;
        figure.accepted += accepted;
        figure.faults.add("afterwards", faults);
    }
    figure.hold(&waited(busiest, slowest));
    figure.finish(trials, 2 * JOBS * trials);
}

/// As the daemon's own file tells it: nobody is let in to ask.
fn work_ends(stage: &Stage) {
    let file = stage.home.path().join("state").join("queue.db");
    let rows = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let open = "SELECT count(*) FROM job WHERE state IN ('queued', 'running')";
    let began = Instant::now();
    while rows
        .query_row(open, [], |row| row.get::<_, i64>(0))
        .unwrap()
        > 0
    {
        assert!(began.elapsed() < PATIENCE, "no work is done any more");
        thread::yield_now();
    }
}

/// Processor time of a daemon so far; a tick is a hundredth of a second.
fn processor_s(daemon: &Daemon) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
