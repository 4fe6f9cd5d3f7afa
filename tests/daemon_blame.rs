//! Who is blamed for the end of a daemon: the jobs that ran, if it died without a word, and nobody else.

use rustix::process::Signal;
use serde_json::json;

use crate::support::daemon::{Daemon, Home, LONG};
use crate::torture::strace;

/// More than so many deaths make a job a suspect.
const ROUNDS: usize = 3;

fn endless(daemon: &Daemon) -> String {
    let body = json!({"prompt": "x", "max_tokens": 30_000, "temperature": 0, "ignore_eos": true});
    let job = json!({"endpoint": "/v1/completions", "body": body});
    daemon.client().submit(&job)
}

/// How many crashes are counted against the job, once the daemon is gone.
fn crashes(home: &Home) -> i64 {
    let db = rusqlite::Connection::open(home.path().join("state/queue.db")).unwrap();
    db.query_row("SELECT max(crashes) FROM job", [], |row| row.get(0))
        .unwrap()
}

/// Starts a daemon, and kills it when it runs the job.
fn die_while_it_runs(home: &Home, id: &str) {
    let daemon = home.start();
    let path = format!("/v1/jobs/{id}/events");
    daemon.client().stream("GET", &path, b"").next().unwrap();
    daemon.kill();
}

#[test]
fn a_death_without_a_word_counts_unless_the_machine_was_started_anew() {
    let home = Home::with_daemon_keys("drain_timeout_s = 0", LONG);
    let daemon = home.start();
    let id = endless(&daemon);
    daemon.stop();
    die_while_it_runs(&home, &id);
    // The count is taken at the next start.
    let start_and_stop = || {
        let daemon = home.start();
        daemon.stop();
        crashes(&home)
    };
    assert_eq!(start_and_stop(), 1);
    assert_eq!(start_and_stop(), 1);
    die_while_it_runs(&home, &id);
    let running = home.path().join("state/running");
    assert!(running.exists());
    std::fs::write(&running, "the id of another boot\n").unwrap();
    assert_eq!(start_and_stop(), 1);
    assert!(!running.exists());
}

#[test]
fn nobody_is_blamed_when_patience_with_a_drain_is_lost() {
    let home = Home::with_daemon_keys("drain_timeout_s = 600", LONG);
    let mut daemon = home.start();
    let id = endless(&daemon);
    let path = format!("/v1/jobs/{id}/events");
    daemon.client().stream("GET", &path, b"").next().unwrap();
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_for("STOPPING=1"));
    assert!(!home.path().join("state/running").exists());
    daemon.kill();
    home.reconfigure("drain_timeout_s = 600", "drain_timeout_s = 0");
    let daemon = home.start();
    daemon.stop();
    assert_eq!(crashes(&home), 0);
}

#[test]
fn nobody_is_blamed_for_a_disk_that_fails_and_streams_are_cut_off() {
    if !strace::is_there() {
        return;
    }
    let config = format!("{LONG}[queue]\ncheckpoint_tokens = 1\n");
    let home = Home::with_daemon_keys("drain_timeout_s = 0", &config);
    let daemon = home.start();
    let id = endless(&daemon);
    daemon.stop();
    let log = home.path().join("strace.log");
    let log = log.to_str().unwrap();
    for round in 0..ROUNDS {
        // Of each thread: the one that writes syncs after every token.
        let inject = "inject=fsync,fdatasync:error=EIO:when=25+";
        let program = [
            "strace",
            "-f",
            "-qq",
            "--seccomp-bpf",
            "-o",
            log,
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            inject,
        ];
        let mut daemon = home.spawn_under(&program);
        assert!(daemon.wait_for("READY=1"));
        let path = format!("/v1/jobs/{id}/events");
        // The daemon may be gone before the job is followed.
        let events = daemon.client().try_stream("GET", &path, &[], b"");
        for event in events.into_iter().flat_map(|(_, events)| events) {
            assert!(event.contains("\"choices\""), "{event}");
        }
        let (status, said) = daemon.end();
        assert_eq!(status.code(), Some(74), "{round}: {said}");
    }
    die_while_it_runs(&home, &id);
    assert_eq!(crashes(&home), 0);
}
