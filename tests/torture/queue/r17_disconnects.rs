//! R17: clients that go away and clients that cancel, beside others that must not notice.

use std::io::Read;
use std::sync::atomic::AtomicI64;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::Client;
use crate::torture::{pick, random};

use super::figure::Figure;
use super::ledger::Way;
use super::percentiles::Percentiles;
use super::seed;
use super::stage::Stage;
use super::submitters::{job_id, submitter};
use super::work::CONFIG;

/// Long answers of `work`, so that there is something to break off.
const LONG: [usize; 4] = [11, 23, 35, 47];
/// Clients that go on undisturbed.
const NEIGHBOURS: usize = 2;

#[test]
fn r17_disconnects_and_cancels() {
    let mut figure = Figure::new("R17", "clients gone, jobs cancelled, 2 neighbours");
    let trials = pick(24, 200, 1_000);
    let stage = Stage::new(CONFIG);
    let daemon = stage.home.start();
    let mut random = random(seed());
    let budget = AtomicI64::new(trials as i64);
    let mut times = Vec::new();
    let mut stopped = 0;
    thread::scope(|threads| {
        for _ in 0..NEIGHBOURS {
            let submitter = submitter(&stage, daemon.client(), &budget, random(u64::MAX));
            threads.spawn(move || submitter.run_while_new(Way::Detached { keyed: true }));
        }
        let client = daemon.client();
        for trial in 0..trials {
            let request = LONG[random(LONG.len() as u64) as usize];
            let went = match trial % 4 {
                0 => drop_stream(&stage, &client, request, random(40)),
                1 => drop_waiting(&stage, &client, request, random(20_000)),
                2 => cancel(&stage, &client, request, random(20_000)),
                _ => drop_followed(&stage, &client, request, random(40)),
            };
            figure.trials += 1;
            let Some((id, began)) = went else { continue };
            // A job that nobody can ask for goes soon after its end.
            let state = loop {
                let job = client.get(&format!("/v1/jobs/job_{id}"));
                let state = job.json()["status"].as_str().unwrap_or("gone").to_owned();
                if !matches!(state.as_str(), "queued" | "running") {
                    break state;
                }
                thread::yield_now();
            };
            match state.as_str() {
                "cancelled" | "gone" => {
                    stopped += 1;
                    times.push(began.elapsed());
                }
                // Done before the daemon could know.
                "completed" => {}
                _ => figure.faults.wrong.push(format!("job {id} is {state}")),
            }
        }
    });
    daemon.stop();
    let (accepted, faults) = stage.finish();
    figure.accepted = accepted;
    figure.faults.add("afterwards", faults);
    assert!(stopped > 0, "no job was stopped");
    figure.note(format!(
        "{stopped} jobs stopped before their end, which takes {}",
        Percentiles::of(times)
    ));
    figure.finish(trials);
}

type Left = Option<(i64, Instant)>;

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
    Some((id, Instant::now()))
}

/// Waits a little for a whole answer, and goes. Such a client knows no id.
fn drop_waiting(stage: &Stage, client: &Client, request: usize, for_us: u64) -> Left {
    let mark = stage.ledger.send(request, Way::Attached);
    let body = stage.work.body(request, mark).to_string();
    let path = stage.work.request(request).endpoint;
    let mut connection = client.begin("POST", path, &[], body.as_bytes());
    let patience = Duration::from_micros(1 + for_us);
    connection.set_read_timeout(Some(patience)).unwrap();
    // An answer in this time, or none: both are fine.
    let _ = connection.read(&mut [0; 1]);
    None
}

/// Submits, waits a little, and cancels.
fn cancel(stage: &Stage, client: &Client, request: usize, after_us: u64) -> Left {
    let id = submit(stage, client, request, Way::Doomed);
    thread::sleep(Duration::from_micros(after_us));
    let began = Instant::now();
    client.post(&format!("/v1/jobs/job_{id}/cancel"), &json!({}));
    Some((id, began))
}

/// Follows a job that does not need it, and goes: the job must not notice.
fn drop_followed(stage: &Stage, client: &Client, request: usize, tokens: u64) -> Left {
    let id = submit(stage, client, request, Way::Detached { keyed: false });
    let mut events = client.stream("GET", &format!("/v1/jobs/job_{id}/events"), b"");
    for _ in 0..tokens {
        events.next();
    }
    None
}

fn submit(stage: &Stage, client: &Client, request: usize, way: Way) -> i64 {
    let mark = stage.ledger.send(request, way);
    let endpoint = stage.work.request(request).endpoint;
    let job = json!({"endpoint": endpoint, "body": stage.work.body(request, mark)});
    let id = job_id(&client.submit(&job)).unwrap();
    stage.ledger.accepted(mark, id);
    id
}
