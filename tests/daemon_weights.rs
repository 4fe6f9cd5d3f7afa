//! The weights under a daemon that serves: wrong values, a file that goes away, a conversion at the start.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home};
use crate::support::http::Client;
use crate::support::models::fixture;

/// A model file, served with a cache of its own.
fn from_file(verify: &str) -> Home {
    Home::with_daemon_keys(
        "drain_timeout_s = 600",
        &format!(
            "[model]\npath = {:?}\nname = \"tiny\"\ncontext_length = 2048\n\
             [cache]\ndir = \"cache\"\nverify = \"{verify}\"\n\
             [workers]\nthreads_per_worker = 1\nslots = 2\nkv_bytes = \"32MiB\"\n",
            fixture("llama-gqa.gguf")
        ),
    )
}

/// Synthetic weights in a cache file that takes long enough to read for tokens to be computed meanwhile.
fn large(verify: &str) -> Home {
    Home::with_daemon_keys(
        "drain_timeout_s = 600",
        &format!(
            "[model]\nname = \"large\"\nsource = \"synthetic\"\n\
             [synthetic]\npreset = \"tiny\"\npersist = true\nnum_layers = 3\nhidden_size = 256\n\
             num_heads = 4\nintermediate_size = 4096\ncontext_length = 2048\n\
             [cache]\ndir = \"cache\"\nverify = \"{verify}\"\n\
             [workers]\nthreads_per_worker = 1\nslots = 2\nkv_bytes = \"32MiB\"\n"
        ),
    )
}

fn submit(client: &Client, prompt: &str, max_tokens: u32) -> String {
    let body = json!({"prompt": prompt, "max_tokens": max_tokens, "temperature": 1, "seed": 7, "ignore_eos": true});
    let job = json!({"endpoint": "/v1/completions", "body": body});
    client.submit(&job)
}

/// What a job's stream shows from its first token to its end, and its result.
fn shown(client: &Client, id: &str) -> (Vec<Value>, Value) {
    let events = client.stream("GET", &format!("/v1/jobs/{id}/events"), b"");
    let mut events: Vec<String> = events.collect();
    assert_eq!(events.pop().as_deref(), Some("[DONE]"));
    let choices = |event: &String| {
        let event: Value = serde_json::from_str(event).unwrap();
        event["choices"].clone()
    };
    let job = client.get(&format!("/v1/jobs/{id}")).expect(200);
    assert_eq!(job["status"], "completed", "{job}");
    assert_eq!(job["attempts"], 1, "{job}");
    (
        events.iter().map(choices).collect(),
        job["result"]["choices"].clone(),
    )
}

/// The same result, and the same stream where both followers came in time: a job that is over has no events
/// left, only its result.
#[track_caller]
fn assert_same(seen: &(Vec<Value>, Value), golden: &(Vec<Value>, Value)) {
    assert!(seen.1 == golden.1, "a result differs");
    let in_time = !seen.0.is_empty() && !golden.0.is_empty();
    assert!(!in_time || seen.0 == golden.0, "a stream differs");
}

/// The names in the cache directory that end like this.
fn cached(home: &Home, end: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(home.path().join("cache")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect()
}

fn cache_file(home: &Home) -> PathBuf {
    let [file] = &cached(home, ".safetensors")[..] else {
        panic!("one cache file")
    };
    file.clone()
}

fn writable(path: &Path) -> fs::File {
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Flips the highest exponent bit of the first value of a tensor.
fn damage(path: &Path, tensor: &str) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(*bytes.first_chunk().unwrap());
    let header: Value = serde_json::from_slice(&bytes[8..8 + length as usize]).unwrap();
    let start = header[tensor]["data_offsets"][0].as_u64().unwrap();
    let at = 8 + length + start + 3;
    writable(path)
        .write_all_at(&[bytes[at as usize] ^ 0x40], at)
        .unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o400)).unwrap();
}

/// Leaves jobs in the queue, two of which ran, without counting an attempt.
fn leave_jobs(daemon: Daemon, prompts: &[(&str, u32)]) -> Vec<String> {
    let client = daemon.client();
    let submit = |(prompt, max_tokens): &(&str, u32)| submit(&client, prompt, *max_tokens);
    let ids = prompts.iter().map(submit).collect();
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::TERM);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(0), "{log}");
    ids
}

/// Jobs that run on a damaged file from the moment of the start show nothing but what they should.
fn wrong_weights_are_never_seen(home: &Home, tensor: &str, prompts: &[(&str, u32)]) {
    let daemon = home.start();
    let client = daemon.client();
    let golden: Vec<_> = prompts
        .iter()
        .map(|(prompt, max_tokens)| shown(&client, &submit(&client, prompt, *max_tokens)))
        .collect();
    let ids = leave_jobs(daemon, prompts);
    let file = cache_file(home);
    damage(&file, tensor);

    let mut daemon = home.start();
    let client = daemon.client();
    // A follower that is there before the weights are known to be wrong, or as early as it gets.
    let seen: Vec<_> = ids.iter().map(|id| shown(&client, id)).collect();
    for ((events, result), (all_events, right)) in seen.iter().zip(&golden) {
        // A job that was over before its follower came has no events left, only its result.
        assert!(
            events.is_empty() || events == all_events,
            "a stream differs"
        );
        assert!(result == right, "a result differs");
    }
    assert!(daemon.wait_for("READY=1"), "the engine has started again");
    let health = client.get("/health").expect(200);
    assert_eq!(health["status"], "ok");
    let log = daemon.stop();
    let told: Vec<&str> = log.lines().filter(|line| line.contains(tensor)).collect();
    assert_eq!(told.len(), 1, "{log}");
    assert!(told[0].contains(" WARN "), "{log}");
    assert_eq!(cached(home, ".bad").len(), 1);
    assert_eq!(cache_file(home), file, "made again");

    // And it is sound from now on.
    let daemon = home.start();
    let client = daemon.client();
    let (prompt, max_tokens) = prompts[0];
    assert_same(
        &shown(&client, &submit(&client, prompt, max_tokens)),
        &golden[0],
    );
    let log = daemon.stop();
    assert!(log.contains("the weights are verified"), "{log}");
    assert!(!log.contains(" WARN "), "{log}");
}

#[test]
fn wrong_weights_of_a_model_file_are_never_seen() {
    let prompts = [("one", 1500), ("two", 1500), ("three", 40)];
    wrong_weights_are_never_seen(&from_file("background"), "blk.0.attn_q.weight", &prompts);
}

#[test]
fn wrong_weights_found_after_some_tokens_are_never_seen() {
    let prompts = [("one", 60), ("two", 60), ("three", 3)];
    wrong_weights_are_never_seen(&large("background"), "blk.2.ffn_down.weight", &prompts);
}

#[test]
fn full_verification_finds_wrong_weights_before_the_daemon_is_ready() {
    let home = from_file("full");
    let daemon = home.start();
    let client = daemon.client();
    let golden = shown(&client, &submit(&client, "x", 20));
    daemon.stop();
    damage(&cache_file(&home), "blk.0.attn_q.weight");
    let daemon = home.start();
    let client = daemon.client();
    assert_same(&shown(&client, &submit(&client, "x", 20)), &golden);
    let log = daemon.stop();
    assert!(log.contains("blk.0.attn_q.weight"), "{log}");
    assert!(!log.contains("thrown away"), "{log}");
}

#[test]
fn a_cache_file_that_goes_away_costs_no_job_anything() {
    let home = from_file("background");
    let daemon = home.start();
    let client = daemon.client();
    let golden = shown(&client, &submit(&client, "x", 1500));
    daemon.stop();

    let daemon = home.start();
    let client = daemon.client();
    let id = submit(&client, "x", 1500);
    let waiting = submit(&client, "y", 5);
    let mut events = client.stream("GET", &format!("/v1/jobs/{id}/events"), b"");
    events.next().unwrap();
    let file = cache_file(&home);
    writable(&file).set_len(4096).unwrap();
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(74), "{log}");
    let sentence = log.lines().last().unwrap();
    assert!(sentence.contains(file.to_str().unwrap()), "{log}");

    let daemon = home.start();
    let client = daemon.client();
    assert_same(&shown(&client, &id), &golden);
    shown(&client, &waiting);
    let log = daemon.stop();
    assert!(log.contains("no job is to blame"), "{log}");
    assert_eq!(cached(&home, ".bad").len(), 1);
    let db = rusqlite::Connection::open(home.path().join("state/queue.db")).unwrap();
    let crashes: i64 = db
        .query_row("SELECT sum(crashes) FROM job", [], |row| row.get(0))
        .unwrap();
    assert_eq!(crashes, 0);
    assert!(!home.path().join("state/fault").exists());

    // The marker counts once: who is killed now is a suspect again.
    let daemon = home.start();
    let client = daemon.client();
    let id = submit(&client, "x", 1500);
    client
        .stream("GET", &format!("/v1/jobs/{id}/events"), b"")
        .next()
        .unwrap();
    daemon.kill();
    home.start().stop();
    let crashes: i64 = db
        .query_row("SELECT sum(crashes) FROM job", [], |row| row.get(0))
        .unwrap();
    assert_eq!(crashes, 1);
}

#[test]
fn the_service_manager_is_asked_for_patience_while_weights_are_made() {
    let home = from_file("background");
    let asks = |messages: &[String]| {
        let mut lines = messages.iter().flat_map(|message| message.lines());
        lines.any(|line| line == "EXTEND_TIMEOUT_USEC=60000000")
    };
    let mut daemon = home.spawn();
    let messages = daemon.messages_until("READY=1").unwrap();
    assert!(asks(&messages), "{messages:?}");
    daemon.stop();
    let mut daemon = home.spawn();
    let messages = daemon.messages_until("READY=1").unwrap();
    assert!(!asks(&messages), "nothing was made: {messages:?}");
    daemon.stop();
}
