//! A daemon whose system calls fail on purpose, and the fixed script that its clients follow meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use rustix::net::sockopt::socket_peercred;
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use crate::support::daemon::{Daemon, Home};
use crate::support::http::Client;
use crate::torture::{Scale, scale};

use super::calls::{self, Call, Kind};
use super::figure::{Faults, Figure};
use super::ledger::Way;
use super::stage::Stage;
use super::submitters::fixed;
use super::threads::{API, Attached, named, of_uploads};
use super::traced_files::CALLS;
use super::work::CONFIG;

/// Jobs of the script, beside those of a batch.
const JOBS: usize = 30;
/// Jobs of a daemon that is killed before the one that matters, beside those of a batch.
const JOBS_BEFORE: usize = 6;
/// For the end of the script.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name of the first thread.
pub(super) const MAIN: &str = "woollyd";

/// What became of a daemon with one failing call.
pub(super) struct Traced {
    /// The call was made so often.
    pub injected: bool,
    /// `None`: a signal.
    pub code: Option<i32>,
    pub log: String,
    /// Answers that ask the client to come again.
    pub refused: usize,
    /// A connection broke before the script was over.
    pub broke: bool,
    /// The first failing call, or the last of all; `None` for one that changes no file.
    pub met: Option<Kind>,
    /// The one before of the same thread.
    pub before: Option<Kind>,
    /// When it was made, in seconds since 1970.
    pub met_at_s: f64,
    /// From there to the end.
    pub gone_after_s: f64,
}

/// In which life of a daemon calls are counted, and by whom. Every thread counts for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// All threads, from the first start in an empty directory.
    First,
    /// Its main thread alone.
    FirstMain,
    /// All threads, in a start in the directory of a daemon that was killed, and a stop.
    Next,
    /// The threads of one name, once the daemon serves.
    Thread(&'static str),
    /// Those that write uploads.
    Uploads,
}

/// Which calls meet what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Point {
    pub place: Place,
    pub call: &'static str,
    /// `signal=KILL`, `error=EIO`
    pub action: &'static str,
    pub nth: usize,
    /// The same or a later one.
    pub until: usize,
    /// Only calls on this file count, a path in the home of the daemon.
    pub only: Option<&'static str>,
}

impl Place {
    /// Whether a thread of that name is met there.
    pub fn is_of(self, thread: &str) -> bool {
        match self {
            Place::First | Place::Next => true,
            Place::FirstMain => thread == MAIN,
            Place::Thread(name) => thread == name,
            Place::Uploads => thread == API,
        }
    }
}

impl Point {
    /// The same at that call alone.
    pub fn at(self, nth: usize) -> Self {
        Point {
            nth,
            until: nth,
            ..self
        }
    }

    fn when(self) -> String {
        if self.until > self.nth {
            format!("{}..{}", self.nth, self.until)
        } else {
            self.nth.to_string()
        }
    }
}

/// What one injection did, and everything that is wrong after the next daemon has finished. False when the call is not
/// made so often.
pub(super) fn trial(
    figure: &mut Figure,
    point: Point,
    judge: impl FnOnce(&Traced, &Stage, &mut Faults),
) -> bool {
    let work = |stage: &Stage, client: &Client| by_clients(point.place, stage, client);
    trial_with(figure, point, work, judge)
}

/// The script, but where only the start matters.
fn by_clients(place: Place, stage: &Stage, client: &Client) -> io::Result<usize> {
    match place {
        Place::Next => Ok(0),
        _ => script(stage, client),
    }
}

/// The same with clients that do something else.
pub(super) fn trial_with(
    figure: &mut Figure,
    point: Point,
    work: impl FnOnce(&Stage, &Client) -> io::Result<usize>,
    judge: impl FnOnce(&Traced, &Stage, &mut Faults),
) -> bool {
    let mut stage = match point.place {
        Place::Next => killed(),
        _ => Stage::new(CONFIG),
    };
    let Some(traced) = run(&stage, point, work) else {
        return false;
    };
    if !traced.injected {
        return false;
    }
    let mut faults = Faults::default();
    judge(&traced, &stage, &mut faults);
    if traced.log.contains("panicked") {
        faults.wrong.push(format!("a panic: {}", traced.log));
    }
    if traced.broke && traced.code == Some(0) {
        let sentence = "a connection broke, and the daemon lived";
        faults.wrong.push(sentence.to_owned());
    }
    stage.look();
    let (accepted, found) = stage.finish();
    let Point { call, action, .. } = point;
    let case = format!("{:?}, {call} {} {action}", point.place, point.when());
    figure.trials += 1;
    figure.accepted += accepted;
    figure.faults.add(&case, faults);
    figure.faults.add(&case, found);
    true
}

/// What a daemon left that was killed over some work.
fn killed() -> Stage {
    let stage = Stage::new(CONFIG);
    let daemon = stage.home.start();
    let mut submitter = fixed(&stage, &daemon.client());
    for request in 0..JOBS_BEFORE {
        let mark = stage.ledger.send(request, Way::Detached { keyed: true });
        assert!(submitter.submit(mark, true).unwrap());
    }
    assert!(submitter.batch().unwrap());
    daemon.kill();
    stage
}

/// Runs a daemon on the stage with clients; `None` where its threads may not be traced.
fn run(
    stage: &Stage,
    point: Point,
    work: impl FnOnce(&Stage, &Client) -> io::Result<usize>,
) -> Option<Traced> {
    let Point { call, action, .. } = point;
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:{action}:when={}", point.when());
    // strace shows and knows paths without links in them.
    let home = stage.home.path().canonicalize().unwrap();
    let only = point.only.map(|path| home.join(path));
    let only = only.as_deref().and_then(Path::to_str);
    let mut options = vec!["-e", &trace, "-e", &inject];
    options.extend(only.into_iter().flat_map(|path| ["-P", path]));
    let mut answered = Ok(0);
    let work = |client: &Client| answered = work(stage, client);
    let (life, alone) = live(&stage.home, point.place, &options, work)?;
    let calls = calls::read(&life.calls);
    let met = calls::met(&calls, call, point.nth);
    Some(Traced {
        injected: met.is_some(),
        code: life.status.code(),
        log: life.said,
        refused: *answered.as_ref().unwrap_or(&0),
        broke: answered.is_err(),
        met: met.and_then(|call| call.kind(&home, alone)),
        before: met
            .and_then(|call| calls::before(&calls, call))
            .and_then(|call| call.kind(&home, alone)),
        met_at_s: met.map_or(0.0, |call| call.began),
        gone_after_s: gone_after_s(&life.calls, met),
    })
}

/// What is called at a place when nothing fails.
pub(super) struct Recorded {
    pub kinds: BTreeSet<Kind>,
    /// By one thread, how often.
    pub counts: BTreeMap<String, usize>,
}

pub(super) fn recorded(place: Place) -> Recorded {
    let stage = match place {
        Place::Next => killed(),
        _ => Stage::new(CONFIG),
    };
    let work = |client: &Client| assert_eq!(by_clients(place, &stage, client).unwrap(), 0);
    let (life, alone) = live(&stage.home, place, &["-e", CALLS], work).unwrap();
    assert_eq!(life.status.code(), Some(0), "{}", life.said);
    let home = stage.home.path().canonicalize().unwrap();
    let calls = calls::read(&life.calls);
    Recorded {
        kinds: calls::kinds(&calls, &home, alone),
        counts: calls::most_of_a_thread(&calls),
    }
}

/// How a daemon ended, what it said, and what strace saw.
pub(super) struct Life {
    pub status: ExitStatus,
    pub said: String,
    calls: String,
}

/// One life of a daemon, traced at a place; with the name of the thread that strace does not name.
pub(super) fn live(
    home: &Home,
    place: Place,
    options: &[&str],
    work: impl FnOnce(&Client),
) -> Option<(Life, &'static str)> {
    let started = |own: &[&str], work| {
        let (status, said, calls) = under_strace(home, &[own, options].concat(), work);
        Life {
            status,
            said,
            calls,
        }
    };
    Some(match place {
        Place::First | Place::Next => (started(&["-f", "-Y"], work), MAIN),
        Place::FirstMain => (started(&[], work), MAIN),
        Place::Thread(name) => (
            attached(home, |daemon| named(daemon.pid(), name), options, work)?,
            name,
        ),
        Place::Uploads => {
            let threads = |daemon: &Daemon| of_uploads(daemon.pid(), &daemon.client());
            (attached(home, threads, options, work)?, API)
        }
    })
}

/// A daemon whose threads come under strace when it serves.
fn attached(
    home: &Home,
    threads: impl FnOnce(&Daemon) -> Vec<u32>,
    options: &[&str],
    work: impl FnOnce(&Client),
) -> Option<Life> {
    let daemon = home.start();
    let threads = threads(&daemon);
    let Some(attached) = Attached::to(&threads, options, &home.path().join("strace.log")) else {
        assert_eq!(scale(), Scale::Smoke, "strace may not attach to a process");
        println!("skipped: strace may not attach to a process");
        return None;
    };
    work(&daemon.client());
    daemon.signal(Signal::TERM);
    let (status, said) = daemon.end();
    Some(Life {
        status,
        said,
        calls: attached.end(),
    })
}

/// A start and a stop of a daemon whose `nth` call of `call` in each thread meets `action`. Whether there was one.
pub(super) fn start(home: &Home, call: &str, action: &str, nth: usize) -> bool {
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:{action}:when={nth}");
    let options = ["-f", "-Y", "-e", &trace, "-e", &inject];
    let (_, _, traced) = under_strace(home, &options, |_| {});
    calls::met(&calls::read(&traced), call, nth).is_some()
}

/// Starts a daemon under strace, lets clients work, and stops it: how it ended, what it said, and what strace saw. The
/// calls are written with their threads, their times and the paths of their files.
pub(super) fn under_strace(
    home: &Home,
    options: &[&str],
    work: impl FnOnce(&Client),
) -> (ExitStatus, String, String) {
    let log = home.path().join("strace.log");
    let program = ["strace", "-ttt", "-q", "-y", "-o", log.to_str().unwrap()];
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

/// From a call to the end of the daemon.
fn gone_after_s(traced: &str, met: Option<&Call>) -> f64 {
    // Of a thread and the time, or of the time alone.
    let time = |word: &str| word.parse::<f64>().ok().filter(|_| word.contains('.'));
    let at = |line: &str| line.split_whitespace().take(2).find_map(time);
    let last = traced.lines().rfind(|line| line.contains("+++ "));
    let gone = last.and_then(at).zip(met);
    gone.map_or(f64::INFINITY, |(last, met)| last - met.began)
}

/// Thirty jobs and a batch, all of them done. How often something was refused for lack of space; an error when a
/// connection breaks.
pub(super) fn script(stage: &Stage, client: &Client) -> io::Result<usize> {
    let mut refused = 0;
    let mut submitter = fixed(stage, client);
    let mut again = |step: &mut dyn FnMut() -> io::Result<bool>| -> io::Result<()> {
        // What is refused for lack of space is tried again; it was said to the ledger, which takes it back here.
        while !step()? {
            let faults = &mut stage.ledger.book().faults;
            match faults.wrong.last() {
                Some(sentence) if sentence.contains("no_space") => faults.wrong.pop(),
                _ => return Ok(()),
            };
            refused += 1;
        }
        Ok(())
    };
    for number in 0..JOBS {
        let request = number * 7 % stage.work.len();
        let mark = stage.ledger.send(request, Way::Detached { keyed: true });
        again(&mut || submitter.submit(mark, true))?;
    }
    again(&mut || submitter.batch())?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let health = client.try_send("GET", "/health", &[], b"")?.json();
        let count = |value: &Value| value.as_u64().unwrap_or(0);
        let jobs = &health["jobs"];
        if count(&jobs["queued"]) + count(&jobs["running"]) + count(&health["open_batches"]) == 0 {
            return Ok(refused);
        }
        if Instant::now() > deadline {
            stage
                .ledger
                .wrong(format!("not done after {PATIENCE:?}: {health}"));
            return Ok(refused);
        }
        std::thread::yield_now();
    }
}
