//! A daemon whose system calls fail on purpose, and the fixed script that its clients follow meanwhile.

use std::io;
use std::sync::atomic::AtomicI64;

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::support::http::Client;

use super::ledger::Way;
use super::seed;
use super::stage::Stage;
use super::submitters::Submitter;

/// Jobs of the script, beside those of a batch.
const JOBS: usize = 30;

/// What became of a daemon with one failing call.
pub(super) struct Traced {
    /// The call was made so often.
    pub injected: bool,
    /// `None`: a signal.
    pub code: Option<i32>,
    pub log: String,
    /// Answers that ask the client to come again.
    pub refused: usize,
}

/// Runs a daemon on the stage whose `nth` call of `call` in each thread meets `action` (`signal=KILL`, `error=EIO`).
pub(super) fn run(stage: &Stage, call: &str, action: &str, nth: &str) -> Traced {
    let log = stage.home.path().join("strace.log");
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:{action}:when={nth}");
    let mut daemon = stage.home.spawn_under(&[
        "strace",
        "-f",
        "-qq",
        "-o",
        log.to_str().unwrap(),
        "-e",
        &trace,
        "-e",
        &inject,
    ]);
    let mut refused = 0;
    if daemon.wait_for("READY=1") {
        let client = daemon.client();
        // The daemon's own process; strace would let it go.
        let pid = std::os::unix::net::UnixStream::connect(stage.home.socket())
            .ok()
            .and_then(|connection| Some(socket_peercred(&connection).ok()?.pid));
        // The error means that the daemon is gone.
        let _ = script(stage, &client, &mut refused);
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    let (status, said) = daemon.end();
    let traced = std::fs::read_to_string(&log).unwrap_or_default();
    std::fs::remove_file(&log).unwrap();
    Traced {
        injected: traced.contains("INJECTED") || traced.contains("killed by SIGKILL"),
        code: status.code(),
        log: said,
        refused,
    }
}

/// Thirty jobs and a batch, all of them done.
fn script(stage: &Stage, client: &Client, refused: &mut usize) -> io::Result<()> {
    let budget = AtomicI64::new(i64::MAX);
    let mut submitter = Submitter {
        client: client.clone(),
        ledger: &stage.ledger,
        work: stage.work,
        budget: &budget,
        random: crate::torture::random(seed()),
    };
    let mut again = |step: &mut dyn FnMut() -> io::Result<bool>| -> io::Result<()> {
        // What is refused for lack of space is tried again; it was said to the ledger, which takes it back here.
        while !step()? {
            let faults = &mut stage.ledger.book().faults;
            match faults.wrong.last() {
                Some(sentence) if sentence.contains("no_space") => faults.wrong.pop(),
                _ => return Ok(()),
            };
            *refused += 1;
        }
        Ok(())
    };
    for number in 0..JOBS {
        let request = number * 7 % stage.work.len();
        let mark = stage.ledger.send(request, Way::Detached { keyed: true });
        again(&mut || submitter.submit(mark, true))?;
    }
    again(&mut || submitter.batch())?;
    loop {
        let health = client.try_send("GET", "/health", &[], b"")?.json();
        let count = |value: &Value| value.as_u64().unwrap_or(0);
        let jobs = &health["jobs"];
        if count(&jobs["queued"]) + count(&jobs["running"]) + count(&health["open_batches"]) == 0 {
            return Ok(());
        }
        std::thread::yield_now();
    }
}
