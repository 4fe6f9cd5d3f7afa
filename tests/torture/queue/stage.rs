//! A daemon's directory over many lives of the daemon, with the ledger of what its clients were told.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::daemon::{Daemon, Home};
use crate::support::http::Client;

use super::figure::Faults;
use super::invariants::{Witness, tidy};
use super::ledger::{Ledger, Sent};
use super::store_file::StoreFile;
use super::work::{Work, work};

const PAGE: usize = 100;
/// For everything that waits; a thousand jobs of a slow build take half a minute.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) struct Stage {
    pub home: Home,
    pub ledger: Ledger,
    pub work: &'static Work,
    witness: Witness,
    faults: Faults,
}

impl Stage {
    pub fn new(config: &str) -> Self {
        Stage::with_daemon_keys("", config)
    }

    /// The same with more keys in `[daemon]`.
    pub fn with_daemon_keys(keys: &str, config: &str) -> Self {
        let work = work();
        Stage {
            home: Home::with_daemon_keys(keys, config),
            ledger: Ledger::default(),
            work,
            witness: Witness::default(),
            faults: Faults::default(),
        }
    }

    /// Another stage, on which clients were told what they had been told here at a moment, in seconds since 1970.
    pub fn before(&self, moment_s: f64, config: &str) -> Self {
        Stage {
            ledger: Ledger::with(self.ledger.book().at(moment_s)),
            ..Stage::new(config)
        }
    }

    /// Takes back what a client found wrong and is right in this test. How often that was.
    pub fn forgive(&self, is_right: impl Fn(&str) -> bool) -> usize {
        let wrong = &mut self.ledger.book().faults.wrong;
        let before = wrong.len();
        wrong.retain(|sentence| !is_right(sentence));
        before - wrong.len()
    }

    /// While no daemon runs: what holds at any moment. How many jobs were waiting or running.
    pub fn look(&mut self) -> usize {
        let file = StoreFile::copied(&self.home.path().join("state"));
        self.witness
            .look(&file, &self.ledger.book(), self.work, &mut self.faults);
        file.unfinished()
    }

    /// Starts a daemon, lets it finish everything, asks it for every job, stops it, and looks at what is left. How many
    /// jobs were accepted, and everything that was found wrong.
    pub fn finish(mut self) -> (usize, Faults) {
        self.end()
    }

    /// The same, and the directory stays.
    pub fn end(&mut self) -> (usize, Faults) {
        let daemon = self.home.start();
        self.drain(&daemon);
        self.ask(&daemon.client());
        daemon.stop();
        self.look_at_the_end();
        let accepted = self.ledger.book().accepted();
        (accepted, self.found())
    }

    /// When no daemon runs any more: what holds once everything is done.
    pub fn look_at_the_end(&mut self) {
        let file = StoreFile::copied(&self.home.path().join("state"));
        let book = self.ledger.book();
        self.witness.look(&file, &book, self.work, &mut self.faults);
        self.witness.all_done(&file, &book, &mut self.faults);
        tidy(self.home.path(), &mut self.faults);
    }

    /// Everything that was found wrong so far, here and by clients.
    pub fn found(&mut self) -> Faults {
        let told = std::mem::take(&mut self.ledger.book().faults);
        self.faults.add("a client", told);
        std::mem::take(&mut self.faults)
    }

    /// Returns when every job and every batch is at its end, whatever that is.
    pub fn drain(&self, daemon: &Daemon) {
        let client = daemon.client();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seed = super::seed();
            assert!(
                Instant::now() < deadline,
                "WOOLLY_TORTURE_SEED={seed}: not done after {PATIENCE:?}: {}",
                client.get("/health").json()
            );
            if let Some(job) = unfinished(&client) {
                let events = client.stream("GET", &format!("/v1/jobs/{job}/events"), b"");
                events.for_each(drop);
                continue;
            }
            let batches = client.get(&format!("/v1/batches?limit={PAGE}")).expect(200);
            if !list(&batches).iter().any(is_open) {
                return;
            }
            // Batches have no events; this request waited for one.
            std::thread::yield_now();
        }
    }

    /// The client's view of I1, I2, I4 and, of batches, I3 and I5.
    fn ask(&mut self, client: &Client) {
        let book = self.ledger.book();
        let faults = &mut self.faults;
        for sent in book.sent.iter().filter(|sent| sent.way.is_kept()) {
            for id in &sent.ids {
                let response = client.get(&format!("/v1/jobs/job_{id}"));
                let found = response.status == 200;
                judge(found.then(|| response.json()), sent, *id, self.work, faults);
            }
        }
        let all = client.get(&format!("/v1/batches?limit={PAGE}")).expect(200);
        for batch in &book.batches {
            let same_name = |found: &&Value| found["metadata"]["name"] == *batch.name;
            let found: Vec<&Value> = list(&all).iter().filter(same_name).collect();
            match found[..] {
                [] if batch.ids.is_empty() => {}
                [] => faults.lost.push(format!("{} is gone", batch.name)),
                [one] => {
                    let expected = batch.lines.iter().map(|mark| (*mark, &book.sent[*mark]));
                    lines(client, one, expected.collect(), self.work, faults);
                }
                _ => faults.doubled.push(batch.name.clone()),
            }
        }
    }
}

fn judge(job: Option<Value>, sent: &Sent, id: i64, work: &Work, faults: &mut Faults) {
    let Some(job) = job else {
        return faults.lost.push(format!("the daemon knows no job {id}"));
    };
    if job["status"] != "completed" {
        faults.lost.push(format!("job {id} is {}", job["status"]));
    } else if !work.is_right(sent.request, &job["result"]) {
        let sentence = format!("job {id}, request {}: {}", sent.request, job["result"]);
        faults.differing.push(sentence);
    }
}

/// Every line of a batch has one answer, and the right one.
fn lines(
    client: &Client,
    batch: &Value,
    expected: Vec<(usize, &Sent)>,
    work: &Work,
    faults: &mut Faults,
) {
    let name = &batch["id"];
    if batch["status"] != "completed" || !batch["error_file_id"].is_null() {
        return faults.lost.push(format!("{batch}"));
    }
    let file = batch["output_file_id"].as_str().unwrap_or_default();
    let response = client.get(&format!("/v1/files/{file}/content"));
    if response.status != 200 {
        return faults.lost.push(format!("the output of {name}"));
    }
    let text = String::from_utf8(response.body).unwrap();
    let answers: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    if answers.len() != expected.len() {
        let sentence = format!(
            "{name}: {} answers to {} lines",
            answers.len(),
            expected.len()
        );
        faults.doubled.push(sentence);
    }
    for (mark, sent) in expected {
        let custom_id = mark.to_string();
        let mine = |answer: &&Value| answer["custom_id"] == *custom_id;
        match answers.iter().filter(mine).collect::<Vec<_>>()[..] {
            [] => faults.lost.push(format!("{name}: line {mark}")),
            [one] if work.is_right(sent.request, &one["response"]["body"]) => {}
            [one] => faults.differing.push(format!("{name}: {one}")),
            _ => faults.doubled.push(format!("{name}: line {mark}")),
        }
    }
}

/// Whether a batch is on its way to another status.
fn is_open(batch: &Value) -> bool {
    let status = batch["status"].as_str().unwrap_or_default();
    !["completed", "failed", "expired", "cancelled"].contains(&status)
}

/// A job that waits or runs, the newest first.
fn unfinished(client: &Client) -> Option<String> {
    ["queued", "running"].iter().find_map(|state| {
        let jobs = client.get(&format!("/v1/jobs?limit=1&status={state}"));
        let jobs = jobs.expect(200);
        Some(list(&jobs).first()?["id"].as_str().unwrap().to_owned())
    })
}

fn list(page: &Value) -> &[Value] {
    page["data"].as_array().unwrap()
}
