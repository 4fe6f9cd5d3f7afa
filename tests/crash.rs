//! `kill -9` of a real daemon: nothing accepted is lost, nothing is published twice, and every
//! answer has the bytes it would have had.

use serde_json::{Value, json};

use crate::equal_bytes::prompts;
use crate::support::daemon::{Daemon, Home, LONG};
use crate::support::http::Client;
use crate::support::models::{fixture, smollm2, tiny};
use crate::support::runs::{Setup, run};
use woolly::model::LoadedModel;

const KILLS: usize = 10;
/// A daemon that is killed from outside says nothing about the jobs that ran.
const NO_BLAME: &str = "[queue]\npoison_limit = 0\n";

fn submit(client: &Client, body: &Value) -> String {
    let job = json!({"endpoint": "/v1/completions", "body": body});
    client.submit(&job)
}

/// Follows a job until `events` of its tokens have come, or until it ends.
fn follow(client: &Client, id: &str, events: usize) {
    client
        .stream("GET", &format!("/v1/jobs/{id}/events"), b"")
        .take(events)
        .for_each(drop);
}

fn completed(client: &Client, id: &str) -> Value {
    follow(client, id, usize::MAX);
    let job = client.get(&format!("/v1/jobs/{id}")).expect(200);
    assert_eq!(job["status"], "completed", "{job}");
    job["result"]["choices"].clone()
}

/// The first job that is not done yet.
fn first_unfinished(client: &Client, ids: &[String]) -> Option<String> {
    let unfinished = |id: &&String| {
        let status = client.get(&format!("/v1/jobs/{id}")).expect(200)["status"].clone();
        status == "queued" || status == "running"
    };
    ids.iter().find(unfinished).cloned()
}

#[test]
fn twenty_jobs_survive_ten_kills() {
    let body = |i: usize| json!({"prompt": format!("job {i}"), "max_tokens": 400, "seed": i, "ignore_eos": true});
    let undisturbed = Home::new(LONG);
    let daemon = undisturbed.start();
    let ids: Vec<String> = (0..20)
        .map(|i| submit(&daemon.client(), &body(i)))
        .collect();
    let expected: Vec<Value> = ids
        .iter()
        .map(|id| completed(&daemon.client(), id))
        .collect();
    daemon.stop();

    let home = Home::new(&format!("{LONG}{NO_BLAME}"));
    let mut daemon = home.start();
    let ids: Vec<String> = (0..20)
        .map(|i| submit(&daemon.client(), &body(i)))
        .collect();
    let mut interrupted = 0;
    for kill in 0..KILLS {
        let client = daemon.client();
        if let Some(id) = first_unfinished(&client, &ids) {
            follow(&client, &id, 1 + kill * 7);
            interrupted += 1;
        }
        daemon.kill();
        daemon = home.start();
    }
    let client = daemon.client();
    let answers: Vec<Value> = ids.iter().map(|id| completed(&client, id)).collect();
    assert_eq!(answers, expected);
    assert_eq!(interrupted, KILLS, "every kill met a job that was not done");
    let all = client.get("/v1/jobs?limit=100").expect(200);
    let mut listed: Vec<&str> = all["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| job["id"].as_str().unwrap())
        .collect();
    listed.reverse();
    assert_eq!(listed, ids, "each job is there once");
    daemon.stop();
}

/// Runs the sixteen prompts of the equal-bytes tests through a daemon that is killed while they run,
/// and compares with what an engine in this process gave.
fn killed_in_the_middle(loaded: &LoadedModel, path: &str, max_tokens: u32) {
    let prompts = prompts(loaded, 16, max_tokens);
    let cache = format!("{}/cache", env!("CARGO_TARGET_TMPDIR"));
    let home = Home::new(&format!(
        "[model]\npath = {path:?}\ncontext_length = 2048\n[cache]\ndir = {cache:?}\n[workers]\nslots = 16\n"
    ));
    let daemon: Daemon = home.start();
    let client = daemon.client();
    let ids: Vec<String> = prompts
        .iter()
        .map(|(tokens, params)| {
            let body = json!({
                "prompt": tokens, "max_tokens": params.max_tokens, "temperature": params.temperature,
                "top_p": params.top_p, "seed": params.seed, "ignore_eos": params.ignore_eos,
                "return_token_ids": true, "repeat_penalty": params.shaping.repeat_penalty,
                "frequency_penalty": params.shaping.frequency_penalty,
            });
            submit(&client, &body)
        })
        .collect();
    follow(&client, &ids[15], 3);
    let running = client.get(&format!("/v1/jobs/{}", ids[15])).expect(200);
    assert_eq!(running["status"], "running");
    daemon.kill();

    let daemon = home.start();
    let client = daemon.client();
    let expected = run(loaded, Setup::default(), &prompts);
    for (id, expected) in ids.iter().zip(expected) {
        let choices = completed(&client, id);
        assert_eq!(choices[0]["token_ids"], json!(expected.ids()), "{id}");
        assert_eq!(choices[0]["text"], expected.text, "{id}");
    }
    daemon.stop();
}

#[test]
fn tiny_model_killed_in_the_middle_gives_the_same_bytes() {
    let path = fixture("llama-gqa.gguf");
    killed_in_the_middle(tiny(), path.to_str().unwrap(), 600);
}

#[test]
fn smollm2_killed_in_the_middle_gives_the_same_bytes() {
    let Some(loaded) = smollm2() else { return };
    killed_in_the_middle(loaded, &std::env::var("WOOLLY_TEST_MODEL").unwrap(), 16);
}
