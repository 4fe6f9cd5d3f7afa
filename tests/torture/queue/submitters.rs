//! Clients of every kind. Each goes on until the daemon is gone, and writes down only what it was told.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::Scope;

use serde_json::{Value, json};

use crate::support::daemon::Daemon;
use crate::support::http::{Client, multipart};

use super::ledger::{Ledger, Way};
use super::seed;
use super::stage::Stage;
use super::work::Work;

/// What each of the clients that work at once does.
const KINDS: [Kind; 8] = [
    Kind::Jobs(Way::Detached { keyed: true }),
    Kind::Jobs(Way::Detached { keyed: true }),
    Kind::Jobs(Way::Detached { keyed: true }),
    Kind::Jobs(Way::Detached { keyed: false }),
    Kind::Jobs(Way::Streamed),
    Kind::Jobs(Way::Streamed),
    Kind::Jobs(Way::Attached),
    Kind::Batches,
];

#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Jobs(Way),
    Batches,
}

const BATCH_LINES: i64 = 8;

pub(super) struct Submitter<'a, R> {
    pub client: Client,
    pub ledger: &'a Ledger,
    pub work: &'static Work,
    /// New jobs that all submitters together may still send. After that they send known ones again.
    pub budget: &'a AtomicI64,
    pub random: R,
}

/// Eight clients, one of each kind, that together may send `budget` new jobs.
pub(super) fn crowd<'scope, 'env>(
    threads: &'scope Scope<'scope, 'env>,
    stage: &'env Stage,
    daemon: &Daemon,
    budget: &'env AtomicI64,
    random: &mut impl FnMut(u64) -> u64,
) {
    stage.ledger.ends(false);
    for kind in KINDS {
        let submitter = submitter(stage, daemon.client(), budget, random(u64::MAX));
        threads.spawn(move || submitter.run(kind));
    }
}

/// One that does as it is told, always with the same choices.
pub(super) fn fixed<'a>(
    stage: &'a Stage,
    client: &Client,
) -> Submitter<'a, impl FnMut(u64) -> u64 + use<>> {
    static PLENTY: AtomicI64 = AtomicI64::new(i64::MAX);
    submitter(stage, client.clone(), &PLENTY, seed())
}

/// One whose choices follow from `seed`.
pub(super) fn submitter<'a>(
    stage: &'a Stage,
    client: Client,
    budget: &'a AtomicI64,
    seed: u64,
) -> Submitter<'a, impl FnMut(u64) -> u64 + use<>> {
    Submitter {
        client,
        ledger: &stage.ledger,
        work: stage.work,
        budget,
        random: crate::torture::random(seed),
    }
}

impl<R: FnMut(u64) -> u64> Submitter<'_, R> {
    /// Returns when there are no new jobs to send any more.
    pub fn run_while_new(mut self, way: Way) {
        while self.budget.load(Ordering::Relaxed) > 0 {
            let step = self.job(way);
            if !self.goes_on(step) {
                return;
            }
        }
    }

    /// Returns when the daemon is gone, or has refused something.
    pub fn run(mut self, kind: Kind) {
        for turn in 0.. {
            let step = match kind {
                Kind::Jobs(way) => self.job(way),
                Kind::Batches if turn == 0 => self.batch(),
                Kind::Batches => self.look("/v1/batches?limit=5"),
            };
            if !self.goes_on(step) {
                return;
            }
        }
    }

    /// After an answer of the kind that was hoped for.
    fn goes_on(&self, step: io::Result<bool>) -> bool {
        step.unwrap_or_else(|error| {
            self.ledger.broke(&error.to_string());
            false
        })
    }

    fn may_send(&self, jobs: i64) -> bool {
        self.budget.fetch_sub(jobs, Ordering::Relaxed) > 0
    }

    pub fn job(&mut self, way: Way) -> io::Result<bool> {
        // Without a key there is nothing that could be sent again.
        if way == (Way::Detached { keyed: false }) && self.budget.load(Ordering::Relaxed) <= 0 {
            return self.look("/v1/jobs?limit=5");
        }
        let mark = self.next_mark(way);
        match way {
            Way::Streamed => self.stream(mark),
            Way::Attached => self.wait(mark),
            Way::Detached { .. } | Way::Line | Way::Doomed => self.submit(mark, way.is_keyed()),
        }
    }

    /// One that was never answered, a new one, or one that the daemon knows.
    fn next_mark(&mut self, way: Way) -> usize {
        let (ledger, random) = (self.ledger, &mut self.random);
        let again = if !way.is_keyed() {
            None
        } else if random(3) == 0 {
            ledger.unanswered(way, random)
        } else if self.budget.load(Ordering::Relaxed) <= 0 {
            ledger.known(way, random)
        } else {
            None
        };
        again.unwrap_or_else(|| {
            self.may_send(1);
            let request = (self.random)(self.work.len() as u64) as usize;
            self.ledger.send(request, way)
        })
    }

    pub fn submit(&mut self, mark: usize, keyed: bool) -> io::Result<bool> {
        self.submit_with(mark, keyed, 0)
    }

    /// The same with so many bytes more, which mean nothing.
    pub fn submit_with(&mut self, mark: usize, keyed: bool, more: usize) -> io::Result<bool> {
        let (endpoint, mut body) = self.request(mark);
        if more > 0 {
            body["ballast"] = json!("x".repeat(more));
        }
        let job = json!({"endpoint": endpoint, "body": body, "priority": -1 - (mark % 3) as i64});
        let key = key(mark);
        let headers = [("idempotency-key", key.as_str())];
        let headers = if keyed { &headers[..] } else { &[] };
        let body = job.to_string();
        let response = self
            .client
            .try_send("POST", "/v1/jobs", headers, body.as_bytes())?;
        let id = response.json()["id"].as_str().and_then(job_id);
        match (response.status, id) {
            (202, Some(id)) => self.ledger.accepted(mark, id),
            _ => return Ok(self.refused(mark, response.status, &response.body)),
        }
        Ok(true)
    }

    fn stream(&mut self, mark: usize) -> io::Result<bool> {
        let (endpoint, mut body) = self.request(mark);
        body["stream"] = json!(true);
        let headers = [("idempotency-key", &*key(mark))];
        let body = body.to_string();
        let (status, mut events) =
            self.client
                .try_stream("POST", endpoint, &headers, body.as_bytes())?;
        if status != 200 {
            return Ok(self.refused(mark, status, events.rest()?.as_bytes()));
        }
        let request = self.ledger.book().sent[mark].request;
        let expected = self.work.texts(request);
        let mut texts = vec![String::new(); expected.len()];
        loop {
            let Some(data) = events.next() else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            if data == "[DONE]" {
                break;
            }
            let Ok(chunk) = serde_json::from_str::<Value>(&data) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            match chunk["id"].as_str().and_then(job_id) {
                Some(id) => self.ledger.accepted(mark, id),
                None => return Ok(self.refused(mark, status, data.as_bytes())),
            }
            for choice in chunk["choices"].as_array().into_iter().flatten() {
                let text = choice["text"].as_str();
                let text = text.or(choice["delta"]["content"].as_str());
                let index = choice["index"].as_u64().unwrap_or_default() as usize;
                if let Some(whole) = texts.get_mut(index) {
                    *whole += text.unwrap_or_default();
                }
            }
        }
        if texts != expected {
            let sentence = format!("stream of mark {mark}: {texts:?}");
            self.ledger.book().faults.differing.push(sentence);
        }
        self.ledger.answered(mark);
        Ok(true)
    }

    fn wait(&mut self, mark: usize) -> io::Result<bool> {
        let (endpoint, body) = self.request(mark);
        let response = self
            .client
            .try_send("POST", endpoint, &[], body.to_string().as_bytes())?;
        let result = response.json();
        let id = result["id"].as_str().and_then(job_id);
        let (200, Some(id)) = (response.status, id) else {
            return Ok(self.refused(mark, response.status, &response.body));
        };
        self.ledger.accepted(mark, id);
        self.ledger.answered(mark);
        let request = self.ledger.book().sent[mark].request;
        if !self.work.is_right(request, &result) {
            let sentence = format!("answer to mark {mark}: {result}");
            self.ledger.book().faults.differing.push(sentence);
        }
        Ok(true)
    }

    /// A file of requests becomes a batch, as the OpenAI API has it.
    pub fn batch(&mut self) -> io::Result<bool> {
        if !self.may_send(BATCH_LINES) {
            return Ok(true);
        }
        let mut marks = Vec::new();
        let mut text = String::new();
        for _ in 0..BATCH_LINES {
            let mut request = (self.random)(self.work.len() as u64) as usize;
            while !self.work.fits_a_line(request) {
                request = (request + 1) % self.work.len();
            }
            let mark = self.ledger.send(request, Way::Line);
            let (url, body) = self.request(mark);
            text +=
                &json!({"custom_id": mark.to_string(), "method": "POST", "url": url, "body": body})
                    .to_string();
            text += "\n";
            marks.push(mark);
        }
        let (kind, form) = multipart("batch", text.as_bytes());
        let headers = [("content-type", &*kind)];
        let file = self.client.try_send("POST", "/v1/files", &headers, &form)?;
        if file.status != 200 {
            return Ok(self.refused(marks[0], file.status, &file.body));
        }
        let (number, name) = self.ledger.send_batch(marks.clone());
        let request = json!({
            "input_file_id": file.json()["id"], "endpoint": "/v1/completions", "completion_window": "24h",
            "priority": -2, "metadata": {"name": name},
        });
        let body = request.to_string();
        let batch = self
            .client
            .try_send("POST", "/v1/batches", &[], body.as_bytes())?;
        match batch.json()["id"].as_str() {
            Some(id) if batch.status == 200 => self.ledger.accepted_batch(number, id),
            _ => return Ok(self.refused(marks[0], batch.status, &batch.body)),
        }
        Ok(true)
    }

    fn look(&self, path: &str) -> io::Result<bool> {
        let response = self.client.try_send("GET", path, &[], b"")?;
        Ok(response.status == 200)
    }

    fn request(&self, mark: usize) -> (&'static str, Value) {
        let request = self.ledger.book().sent[mark].request;
        (
            self.work.request(request).endpoint,
            self.work.body(request, mark),
        )
    }

    fn refused(&self, mark: usize, status: u16, body: &[u8]) -> bool {
        let body = String::from_utf8_lossy(body);
        self.ledger
            .wrong(format!("mark {mark} was answered {status}: {body}"));
        false
    }
}

fn key(mark: usize) -> String {
    format!("key {mark}")
}

/// The number in `job_7`, `cmpl-7` or `chatcmpl-7`.
pub(super) fn job_id(text: &str) -> Option<i64> {
    text.rsplit(['_', '-']).next()?.parse().ok()
}
