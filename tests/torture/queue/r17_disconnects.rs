//! R17: clients that go away and clients that cancel, beside others that must not notice.

use std::io::Read;
use std::sync::atomic::AtomicI64;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::support::http::Client;
use crate::torture::{pick, random};

use super::bounds::stopped;
use super::figure::Figure;
use super::ledger::Way;
use super::percentiles::Percentiles;
use super::seed;
use super::stage::Stage;
use super::submitters::{job_id, submitter};
use super::work::{self, CONFIG};

/// Long answers of `work`, so that there is something to break off.
const LONG: [usize; 4] = [11, 23, 35, 47];
/// For the end of a job that nobody waits for.
const PATIENCE: Duration = Duration::from_secs(60);
/// A request whose client has gone is with the store by then.
const ARRIVES_IN: Duration = Duration::from_secs(1);
/// Mostly long enough for that.
const LEAST_PATIENCE: Duration = Duration::from_millis(5);
/// Clients that go on undisturbed.
const NEIGHBOURS: usize = 2;

/// Ways to break a job off.
const KINDS: [&str; 3] = ["streams dropped", "waits dropped", "jobs cancelled"];

/// Of one kind: jobs that could be broken off, those that were, and those that were done before.
#[derive(Debug, Default, Clone, Copy)]
struct Ends {
    stopped: usize,
    done: usize,
}

#[test]
fn r17_disconnects_and_cancels() {
    let mut figure = Figure::new("R17", "clients gone, jobs cancelled, 2 neighbours");
    let trials = pick(24, 200, 1_000);
    let stage = Stage::new(CONFIG);
    let daemon = stage.home.start();
    let rows = rows(&stage);
    let mut random = random(seed());
    let budget = AtomicI64::new(trials as i64);
    let mut times = Vec::new();
    let mut ends = [Ends::default(); KINDS.len()];
    thread::scope(|threads| {
        for _ in 0..NEIGHBOURS {
            let submitter = submitter(&stage, daemon.client(), &budget, random(u64::MAX));
            threads.spawn(move || submitter.run_while_new(Way::Detached { keyed: true }));
        }
        let client = daemon.client();
        for trial in 0..trials {
            let request = LONG[random(LONG.len() as u64) as usize];
            let kind = trial % 4;
            let left = match kind {
                0 => drop_stream(&stage, &client, request, random(40)),
                1 => drop_waiting(&stage, &client, request, random(20_000)),
                2 => cancel(&stage, &client, request, random(20_000)),
                _ => drop_followed(&stage, &client, request, random(40)),
            };
            figure.trials += 1;
            let Some((mark, began)) = left else { continue };
            match end(&rows, mark) {
                Ok("cancelled") => {
                    ends[kind].stopped += 1;
                    times.push(began.elapsed());
                }
                // Before the daemon could know.
                Ok("completed") => ends[kind].done += 1,
                other => figure.faults.wrong.push(format!("mark {mark}: {other:?}")),
            }
        }
    });
    drop(rows);
    daemon.stop();
    let (accepted, faults) = stage.finish();
    figure.accepted = accepted;
    figure.faults.add("afterwards", faults);
    for (kind, ends) in KINDS.into_iter().zip(ends) {
        figure.note(format!(
            "{kind}: {} stopped, {} were done before",
            ends.stopped, ends.done
        ));
        figure.faults.wrong.extend(unheard(kind, ends));
    }
    let times = Percentiles::of(times);
    figure.note(format!("a job stops within {times}"));
    figure.hold(&stopped(&times));
    figure.finish(trials, trials);
}

/// Most answers are long enough to be broken off.
fn unheard(kind: &str, ends: Ends) -> Option<String> {
    let Ends { stopped, done } = ends;
    let few = stopped == 0 || stopped < done;
    few.then(|| format!("{kind}: only {stopped} stopped, and {done} were done"))
}

/// The daemon's own file, to be read beside it: who goes without an answer knows no id.
fn rows(stage: &Stage) -> Connection {
    let file = stage.home.path().join("state").join("queue.db");
    Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap()
}

/// How the job with a mark ended.
fn end(rows: &Connection, mark: usize) -> Result<&'static str, String> {
    // The newest of them: the mark is among the last ones sent.
    let mut query = rows
        .prepare_cached(
            "SELECT job.state, request.body FROM request JOIN job ON job.id = request.job_id
             ORDER BY request.job_id DESC LIMIT 200",
        )
        .unwrap();
    let began = Instant::now();
    loop {
        let found = query.query_map([], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))
        });
        let found = found.unwrap().map(Result::unwrap);
        let state = found
            .filter(|(_, body)| work::mark(body) == Some(mark))
            .map(|(state, _)| state)
            .next();
        match state.as_deref() {
            Some("cancelled") => return Ok("cancelled"),
            Some("completed") => return Ok("completed"),
            Some("queued" | "running") if began.elapsed() < PATIENCE => thread::yield_now(),
            None if began.elapsed() < ARRIVES_IN => thread::yield_now(),
            // What was answered is deleted at once.
            None => return Ok("completed"),
            Some(other) => return Err(format!("is {other} after {:?}", began.elapsed())),
        }
    }
}

/// The mark of the job that was left, and when.
type Left = Option<(usize, Instant)>;

/// Reads some tokens of a stream, and goes.
fn drop_stream(stage: &Stage, client: &Client, request: usize, tokens: u64) -> Left {
    let mark = stage.ledger.send(request, Way::Attached);
    let mut body = stage.work.body(request, mark);
    body["stream"] = json!(true);
    let path = stage.work.request(request).endpoint;
    let mut events = client.stream("POST", path, body.to_string().as_bytes());
    let chunk: Value = serde_json::from_str(&events.next()?).unwrap_or_default();
    let id = job_id(chunk["id"].as_str()?)?;
    stage.ledger.accepted(mark, id);
    stage.ledger.answered(mark);
    for _ in 0..tokens {
        events.next();
    }
    drop(events);
    Some((mark, Instant::now()))
}

/// Waits a little for a whole answer, and goes. Such a client knows no id.
fn drop_waiting(stage: &Stage, client: &Client, request: usize, for_us: u64) -> Left {
    let mark = stage.ledger.send(request, Way::Attached);
    let body = stage.work.body(request, mark).to_string();
    let path = stage.work.request(request).endpoint;
    let mut connection = client.begin("POST", path, &[], body.as_bytes());
    let patience = LEAST_PATIENCE + Duration::from_micros(for_us);
    connection.set_read_timeout(Some(patience)).unwrap();
    // An answer in this time, or none: both are fine.
    let _ = connection.read(&mut [0; 1]);
    Some((mark, Instant::now()))
}

/// Submits, waits a little, and cancels.
fn cancel(stage: &Stage, client: &Client, request: usize, after_us: u64) -> Left {
    let (mark, id) = submit(stage, client, request, Way::Doomed);
    thread::sleep(Duration::from_micros(after_us));
    let began = Instant::now();
    client.post(&format!("/v1/jobs/job_{id}/cancel"), &json!({}));
    Some((mark, began))
}

/// Follows a job that does not need it, and goes: the job must not notice.
fn drop_followed(stage: &Stage, client: &Client, request: usize, tokens: u64) -> Left {
    let (_, id) = submit(stage, client, request, Way::Detached { keyed: false });
    let mut events = client.stream("GET", &format!("/v1/jobs/job_{id}/events"), b"");
    for _ in 0..tokens {
        events.next();
    }
    None
}

/// Its mark and its id.
fn submit(stage: &Stage, client: &Client, request: usize, way: Way) -> (usize, i64) {
    let mark = stage.ledger.send(request, way);
    let endpoint = stage.work.request(request).endpoint;
    let job = json!({"endpoint": endpoint, "body": stage.work.body(request, mark)});
    let id = job_id(&client.submit(&job)).unwrap();
    stage.ledger.accepted(mark, id);
    (mark, id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_which_fewer_are_stopped_than_done_is_told() {
        let told = |stopped, done| unheard("streams", Ends { stopped, done }).is_some();
        assert!(told(0, 0) && told(0, 5) && told(4, 5));
        assert!(!told(5, 5) && !told(1, 0));
    }
}
