//! A daemon whose system calls fail on purpose, and the fixed script that its clients follow meanwhile.

use std::io;
use std::process::ExitStatus;

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::support::daemon::Home;
use crate::support::http::Client;

use super::figure::{Faults, Figure};
use super::ledger::Way;
use super::stage::Stage;
use super::submitters::fixed;
use super::work::CONFIG;

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
    /// The first failing call, with the path of its file.
    pub failing: Option<String>,
    /// From there to the end.
    pub gone_after_s: Option<f64>,
}

/// What one injection did, and everything that is wrong after the next daemon has finished.
pub(super) fn trial(
    figure: &mut Figure,
    call: &str,
    action: &str,
    nth: usize,
    until: usize,
    judge: impl Fn(&Traced, &Stage, &mut Faults),
) -> bool {
    let mut stage = Stage::new(CONFIG);
    let when = if until > nth {
        format!("{nth}..{until}")
    } else {
        nth.to_string()
    };
    let traced = run(&stage, call, action, &when);
    if !traced.injected {
        return false;
    }
    let mut faults = Faults::default();
    judge(&traced, &stage, &mut faults);
    if traced.log.contains("panicked") {
        faults.wrong.push(format!("a panic: {}", traced.log));
    }
    stage.look();
    let (accepted, found) = stage.finish();
    let case = format!("{call} {when} {action}");
    figure.trials += 1;
    figure.accepted += accepted;
    figure.faults.add(&case, faults);
    figure.faults.add(&case, found);
    true
}

/// Runs a daemon on the stage whose `nth` call of `call` in each thread meets `action` (`signal=KILL`, `error=EIO`),
/// with clients that follow the script.
fn run(stage: &Stage, call: &str, action: &str, nth: &str) -> Traced {
    let mut refused = 0;
    let mut traced = start(&stage.home, call, action, nth, |client| {
        // The error means that the daemon is gone.
        let _ = script(stage, client, &mut refused);
    });
    traced.refused = refused;
    traced
}

/// The same with clients that do `work`; without them it is a start and a stop.
pub(super) fn start(
    home: &Home,
    call: &str,
    action: &str,
    nth: &str,
    work: impl FnOnce(&Client),
) -> Traced {
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:{action}:when={nth}");
    let options = ["-e", &trace, "-e", &inject];
    let (status, said, traced) = under_strace(home, &options, work);
    Traced {
        injected: traced.contains("INJECTED") || traced.contains("killed by SIGKILL"),
        code: status.code(),
        log: said,
        refused: 0,
        failing: failing(&traced).map(str::to_owned),
        gone_after_s: gone_after_s(&traced),
    }
}

/// Starts a daemon under strace, lets clients work, and stops it: how it ended, what it said, and what strace saw. The
/// calls are written with their threads, their times and the paths of their files.
pub(super) fn under_strace(
    home: &Home,
    options: &[&str],
    work: impl FnOnce(&Client),
) -> (ExitStatus, String, String) {
    let log = home.path().join("strace.log");
    let program = [
        "strace",
        "-f",
        "-ttt",
        "-q",
        "-y",
        "-o",
        log.to_str().unwrap(),
    ];
    let mut daemon = home.spawn_under(&[&program, options].concat());
    if daemon.wait_for("READY=1") {
        // The daemon's own process; strace would let it go.
        let pid = std::os::unix::net::UnixStream::connect(home.socket())
            .ok()
            .and_then(|connection| Some(socket_peercred(&connection).ok()?.pid));
        work(&daemon.client());
        if let Some(pid) = pid {
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    let (status, said) = daemon.end();
    let traced = std::fs::read_to_string(&log).unwrap_or_default();
    std::fs::remove_file(&log).unwrap();
    (status, said, traced)
}

fn failing(traced: &str) -> Option<&str> {
    traced.lines().find(|line| line.contains("INJECTED"))
}

/// Lines of strace begin with the thread and the time in seconds.
fn gone_after_s(traced: &str) -> Option<f64> {
    let at = |line: &str| line.split_whitespace().nth(1)?.parse::<f64>().ok();
    let failed = failing(traced)?;
    let last = traced.lines().rfind(|line| line.contains("+++ "))?;
    Some(at(last)? - at(failed)?)
}

/// Thirty jobs and a batch, all of them done.
pub(super) fn script(stage: &Stage, client: &Client, refused: &mut usize) -> io::Result<()> {
    let mut submitter = fixed(stage, client);
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
