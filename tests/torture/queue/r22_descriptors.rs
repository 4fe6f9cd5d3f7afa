//! R22: a daemon that may open few files, and more clients than that. It waits without spinning, what it works at goes
//! on, and it is back as soon as there is room.

use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::torture::pick;

use super::figure::Figure;
use super::ledger::Way;
use super::stage::Stage;
use super::submitters::fixed;
use super::work::CONFIG;

const FILES: &str = "--nofile=64:64";
/// Connections that say nothing.
const IDLE: usize = 100;
const JOBS: usize = 12;
/// How long the processor time of a daemon without files is watched.
const WATCHED: Duration = Duration::from_millis(500);

#[test]
fn r22_more_clients_than_files() {
    if std::process::Command::new("prlimit")
        .arg("--version")
        .output()
        .is_err()
    {
        println!("skipped: prlimit is not there");
        return;
    }
    let mut figure = Figure::new("R22", "100 idle clients, 64 files");
    let (mut busiest, mut slowest) = (0.0_f64, Duration::ZERO);
    for _ in 0..pick(1, 3, 20) {
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
        thread::sleep(WATCHED);
        let before = processor_s(&daemon);
        thread::sleep(WATCHED);
        let busy = (processor_s(&daemon) - before) / WATCHED.as_secs_f64();
        busiest = busiest.max(busy);
        drop(idle);
        let began = Instant::now();
        send();
        slowest = slowest.max(began.elapsed() / JOBS as u32);
        let log = daemon.stop();
        if log.contains("panicked") {
            figure.faults.wrong.push(log);
        }
        let (accepted, faults) = stage.finish();
        figure.trials += 1;
        figure.accepted += accepted;
        figure.faults.add("afterwards", faults);
    }
    figure.note(format!(
        "at most {:.0} % of a processor while nobody could be let in; a submit afterwards took {:.1} ms",
        busiest * 100.0,
        slowest.as_secs_f64() * 1e3
    ));
    figure.finish(1);
}

/// Processor time of a daemon so far; a tick is a hundredth of a second.
fn processor_s(daemon: &Daemon) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.pid())).unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().unwrap();
    (ticks(11) + ticks(12)) / 100.0
}
