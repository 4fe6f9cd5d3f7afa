//! What clients ask for, and the oracle: the answers of one daemon that nobody disturbs.

use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::support::daemon::Home;

/// A tiny model. Deaths from outside say nothing about the jobs that ran.
pub(super) const CONFIG: &str = r#"
[model]
name = "torture"
source = "synthetic"
[synthetic]
preset = "tiny"
context_length = 2048
[workers]
threads_per_worker = 1
kv_bytes = "64MiB"
[queue]
poison_limit = 0
[log]
level = "warn"
"#;

const REQUESTS: usize = 48;
/// Most jobs are short; every twelfth is long enough to be in the middle when a daemon dies.
const TOKENS: [usize; 12] = [1, 2, 3, 5, 8, 13, 21, 34, 50, 4, 2, 300];

pub(super) struct Request {
    pub endpoint: &'static str,
    body: Value,
    golden: Value,
}

pub(super) struct Work {
    requests: Vec<Request>,
}

/// The same for every test of a process.
pub(super) fn work() -> &'static Work {
    static WORK: OnceLock<Work> = OnceLock::new();
    WORK.get_or_init(Work::undisturbed)
}

impl Work {
    fn undisturbed() -> Self {
        let home = Home::new(CONFIG);
        let daemon = home.start();
        let client = daemon.client();
        let requests = (0..REQUESTS).map(|number| {
            let (endpoint, body) = request(number);
            let golden = essence(&client.post(endpoint, &body).expect(200));
            Request {
                endpoint,
                body,
                golden,
            }
        });
        let requests = requests.collect();
        daemon.stop();
        Work { requests }
    }

    pub fn len(&self) -> usize {
        self.requests.len()
    }

    pub fn request(&self, number: usize) -> &Request {
        &self.requests[number]
    }

    /// Whether a line of a batch may hold it.
    pub fn fits_a_line(&self, number: usize) -> bool {
        self.requests[number].endpoint == "/v1/completions"
    }

    /// The body with a mark in it that leads from a row of the store back to who sent it.
    pub fn body(&self, number: usize, serial: usize) -> Value {
        let mut body = self.requests[number].body.clone();
        body["user"] = json!(serial.to_string());
        body
    }

    /// Whether this is the answer of the undisturbed daemon.
    pub fn is_right(&self, number: usize, result: &Value) -> bool {
        essence(result) == self.requests[number].golden
    }

    /// The texts of the answer's choices, for those who read them in pieces.
    pub fn texts(&self, number: usize) -> Vec<String> {
        let choices = self.requests[number].golden["choices"].as_array();
        let text = |choice: &Value| {
            let text = choice["text"].as_str();
            text.or(choice["message"]["content"].as_str())
                .unwrap_or_default()
                .to_owned()
        };
        choices.into_iter().flatten().map(text).collect()
    }
}

/// The mark in the body of a job.
pub(super) fn mark(body: &[u8]) -> Option<usize> {
    let body: Value = serde_json::from_slice(body).ok()?;
    body["user"].as_str()?.parse().ok()
}

/// All but the id and the time.
fn essence(result: &Value) -> Value {
    json!({"choices": result["choices"], "usage": result["usage"]})
}

fn request(number: usize) -> (&'static str, Value) {
    let mut body = json!({
        "max_tokens": TOKENS[number % TOKENS.len()] + number / TOKENS.len(),
        "temperature": number % 2, "seed": number, "ignore_eos": true,
    });
    let text = format!("request {number} {}", "and on ".repeat(number % 7));
    if number % 5 == 4 {
        body["messages"] = json!([{"role": "user", "content": text}]);
        return ("/v1/chat/completions", body);
    }
    body["prompt"] = json!(text);
    match number % 7 {
        3 => body["n"] = json!(2),
        5 => body["logprobs"] = json!(2),
        _ => {}
    }
    ("/v1/completions", body)
}
