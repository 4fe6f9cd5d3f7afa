//! Starting, refusing to start, draining, dying and coming back.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::daemon::{Home, LONG, TINY};
use crate::support::http::Client;

fn job(prompt: &str, max_tokens: u32) -> Value {
    let body = json!({"prompt": prompt, "max_tokens": max_tokens, "temperature": 1, "seed": 7, "ignore_eos": true});
    json!({"endpoint": "/v1/completions", "body": body})
}

/// The choices of a job, after following it to its end.
fn result(client: &Client, id: &str) -> Value {
    let job = client.ended(id);
    assert_eq!(job["status"], "completed", "{job}");
    job["result"]["choices"].clone()
}

/// A start that fails: its exit code and the one line it wrote.
fn refused(home: &Home) -> (i32, String) {
    let output = home.run(&[]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let last = stderr.lines().last().unwrap_or_default().to_owned();
    (output.status.code().unwrap(), last)
}

#[test]
fn a_stop_is_announced_and_leaves_no_socket() {
    let home = Home::with_daemon_keys("socket_mode = \"0600\"", TINY);
    let mut daemon = home.start();
    assert_eq!(
        home.socket().metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_for("STOPPING=1"));
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!home.socket().exists());
}

#[test]
fn an_interrupt_stops_too_and_what_was_done_is_kept() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let id = daemon.client().submit(&job("x", 5));
    let before = result(&daemon.client(), &id);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.end().0.code(), Some(0));

    let daemon = home.start();
    assert_eq!(result(&daemon.client(), &id), before);
    daemon.stop();
}

#[test]
fn a_drain_lets_running_jobs_finish_and_refuses_new_ones() {
    let home = Home::with_daemon_keys("drain_timeout_s = 600", LONG);
    let mut daemon = home.start();
    let client = daemon.client();
    let id = client.submit(&job("x", 3000));
    let mut events = client.stream("GET", &format!("/v1/jobs/{id}/events"), b"");
    events.next().unwrap();
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_for("STOPPING=1"));
    let new = client.post("/v1/jobs", &job("y", 1));
    assert_eq!(new.header("retry-after"), Some("5"));
    assert_eq!(new.expect(503)["error"]["code"], "draining");
    assert_eq!(client.get("/health").expect(503)["status"], "draining");
    assert_eq!(events.last().as_deref(), Some("[DONE]"));
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(0), "{log}");

    let daemon = home.start();
    let done = daemon.client().get(&format!("/v1/jobs/{id}")).expect(200);
    assert_eq!(
        (&done["status"], &done["attempts"]),
        (&json!("completed"), &json!(1))
    );
}

#[test]
fn what_does_not_finish_in_time_goes_back_to_the_queue() {
    let home = Home::with_daemon_keys("drain_timeout_s = 600", LONG);
    let mut daemon = home.start();
    let client = daemon.client();
    let request = job("x", 3000);
    let expected = client.post("/v1/completions", &request["body"]).expect(200)["choices"].clone();
    let id = client.submit(&request);
    client
        .stream("GET", &format!("/v1/jobs/{id}/events"), b"")
        .next()
        .unwrap();
    daemon.signal(Signal::TERM);
    assert!(daemon.wait_for("STOPPING=1"));
    // A second signal does not wait for the drain.
    daemon.signal(Signal::TERM);
    let (status, log) = daemon.end();
    assert_eq!(status.code(), Some(0), "{log}");

    let daemon = home.start();
    assert_eq!(result(&daemon.client(), &id), expected);
    let done = daemon.client().get(&format!("/v1/jobs/{id}")).expect(200);
    assert_eq!(
        done["attempts"], 1,
        "a stop of ours does not count as an attempt"
    );
}

#[test]
fn a_killed_daemon_loses_no_job_and_changes_no_answer() {
    let home = Home::new(TINY);
    let prompts: Vec<Value> = (0..20).map(|n| job(&format!("prompt {n}"), 40)).collect();
    let daemon = home.start();
    let expected: Vec<Value> = prompts
        .iter()
        .map(|job| {
            daemon
                .client()
                .post("/v1/completions", &job["body"])
                .expect(200)["choices"]
                .clone()
        })
        .collect();
    let mut ids = BTreeMap::new();
    for (index, job) in prompts.iter().enumerate() {
        ids.insert(daemon.client().submit(job), index);
    }
    daemon.kill();

    let daemon = home.start();
    for (id, index) in &ids {
        assert_eq!(result(&daemon.client(), id), expected[*index]);
    }
    let listed = daemon.client().get("/v1/jobs?limit=100").expect(200);
    let kept = listed["data"].as_array().unwrap().iter();
    let kept = kept
        .filter(|job| ids.contains_key(job["id"].as_str().unwrap()))
        .count();
    assert_eq!(kept, prompts.len());
    daemon.stop();
}

#[test]
fn a_queued_job_keeps_the_length_it_was_accepted_with() {
    let config = LONG.replace("slots = 2", "slots = 1");
    let home = Home::new(&config.replace("[model]", "[model]\nmax_tokens = 5"));
    let daemon = home.start();
    let client = daemon.client();
    let ahead = client.submit(&job("x", 30_000));
    client
        .stream("GET", &format!("/v1/jobs/{ahead}/events"), b"")
        .next()
        .unwrap();
    let body = json!({"prompt": "y", "ignore_eos": true});
    let id = client.submit(&json!({"endpoint": "/v1/completions", "body": body}));
    let waiting = client.get(&format!("/v1/jobs/{id}")).expect(200);
    assert_eq!(waiting["status"], "queued");
    daemon.kill();

    let file = home.path().join("woolly.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("max_tokens = 5", "max_tokens = 9")).unwrap();
    let daemon = home.start();
    let client = daemon.client();
    client
        .post(&format!("/v1/jobs/{ahead}/cancel"), &Value::Null)
        .expect(200);
    result(&client, &id);
    let done = client.get(&format!("/v1/jobs/{id}")).expect(200);
    assert_eq!(done["result"]["usage"]["completion_tokens"], 5);
    // The new default is in force for what is accepted now.
    let new = client.post("/v1/completions", &body).expect(200);
    assert_eq!(new["usage"]["completion_tokens"], 9);
    daemon.stop();
}

#[test]
fn a_live_daemon_keeps_its_socket_and_its_state() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let (code, sentence) = refused(&home);
    assert!([74, 78].contains(&code), "{code}: {sentence}");
    assert!(sentence.starts_with("woollyd: "), "{sentence}");
    daemon.client().get("/health").expect(200);

    // The same socket with another state directory.
    let config = std::fs::read_to_string(home.path().join("woolly.toml")).unwrap();
    std::fs::write(
        home.path().join("woolly.toml"),
        config.replace("\"state\"", "\"other\""),
    )
    .unwrap();
    let (code, sentence) = refused(&home);
    assert_eq!(code, 78);
    let socket = home.socket();
    assert_eq!(
        sentence,
        format!(
            "woollyd: socket {}: another daemon listens there",
            socket.display()
        )
    );
    daemon.client().get("/health").expect(200);
    daemon.stop();
}

#[test]
fn a_start_that_cannot_succeed_says_why_in_one_line() {
    let home = Home::new("");
    assert_eq!(
        refused(&home),
        (
            78,
            "woollyd: no model is configured; expected a [model] table in the configuration file"
                .to_owned()
        )
    );

    let home = Home::new("[model]\npath = \"missing.gguf\"\n");
    let (code, sentence) = refused(&home);
    assert_eq!(code, 78);
    assert!(
        sentence.contains("missing.gguf") && sentence.contains("No such file"),
        "{sentence}"
    );

    let home = Home::new("[model]\npath = \"foreign.gguf\"\n");
    std::fs::write(home.path().join("foreign.gguf"), "PK\x03\x04 not a model").unwrap();
    let (code, sentence) = refused(&home);
    assert_eq!(code, 78);
    assert!(sentence.contains("foreign.gguf"), "{sentence}");
    assert!(!home.socket().exists());

    let huge =
        "hidden_size = 65536\nnum_heads = 512\nnum_layers = 1024\nintermediate_size = 1048576";
    let synthetic = "[model]\nsource = \"synthetic\"\n[synthetic]\npreset = \"llama-7b\"";
    let home = Home::new(&format!("{synthetic}\n{huge}\n"));
    let (code, sentence) = refused(&home);
    assert_eq!(code, 78);
    assert!(
        sentence.starts_with("woollyd: synthetic weights: the weights need ")
            && sentence.ends_with(" GiB are available; expected smaller sizes"),
        "{sentence}"
    );

    let home = Home::new(&format!("{synthetic}\n{huge}\npersist = true\n"));
    let (code, sentence) = refused(&home);
    assert_eq!(code, 78);
    assert!(
        sentence.starts_with("woollyd: synthetic weights: cache directory ")
            && sentence.ends_with("; expected smaller sizes"),
        "{sentence}"
    );

    let home = Home::new("[workers]\nthread = 2\n");
    let (code, sentence) = refused(&home);
    assert_eq!(code, 78);
    assert!(
        sentence.ends_with("the nearest known key is workers.threads_per_worker"),
        "{sentence}"
    );

    // A queue that is not ours, or not ours yet.
    let newer = "PRAGMA application_id = 0x574f4f4c; PRAGMA user_version = 99";
    for (sql, sentence) in [
        ("CREATE TABLE a(b)", "is a database of another program"),
        (newer, "a newer woollyd wrote it"),
    ] {
        let home = Home::new(TINY);
        drop(woolly::queue::StateDir::hold(&home.path().join("state")).unwrap());
        let file = home.path().join("state/queue.db");
        let db = rusqlite::Connection::open(file).unwrap();
        db.execute_batch(sql).unwrap();
        drop(db);
        let (code, said) = refused(&home);
        assert!(code == 78 && said.ends_with(sentence), "{code}: {said}");
    }
    let home = Home::new(TINY);
    drop(woolly::queue::StateDir::hold(&home.path().join("state")).unwrap());
    std::fs::write(home.path().join("state/queue.db"), "no database".repeat(99)).unwrap();
    let (code, said) = refused(&home);
    assert!(
        code == 78 && said.ends_with("file is not a database"),
        "{code}: {said}"
    );

    let home = Home::new(TINY);
    std::fs::write(home.path().join("state"), "a file in the way").unwrap();
    let (code, sentence) = refused(&home);
    assert_eq!(code, 78);
    assert!(
        sentence.starts_with("woollyd: state directory "),
        "{sentence}"
    );
}

#[test]
fn check_and_print_config_start_nothing() {
    let home = Home::new(TINY);
    let output = home.run(&["--check"]);
    assert_eq!(output.status.code(), Some(0));
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(
        line.starts_with("ok: synthetic model of 2 layers, 64 wide, 320 tokens, "),
        "{line}"
    );
    assert_eq!(line.lines().count(), 1);

    let output = home.run(&["--print-config"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let read = woolly::config::Config::from_toml(&printed, "/".as_ref()).unwrap();
    assert_eq!(read.daemon.socket, home.socket());
    assert_eq!(read.to_toml(), printed);
    assert!(!home.socket().exists() && !home.path().join("state").exists());

    let home = Home::new("[model]\npath = \"missing.gguf\"\n");
    let output = home.run(&["--check"]);
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(home.run(&["--bogus"]).status.code(), Some(78));
}

#[test]
fn a_check_finds_what_only_the_start_would_stumble_over() {
    let long = "x".repeat(200);
    let unavailable = if cfg!(target_arch = "aarch64") {
        "avx2"
    } else {
        "neon"
    };
    let cases = [
        (
            format!("[daemon]\nsocket = \"/{long}\"\n{TINY}"),
            "too long for a socket",
        ),
        (
            format!("{TINY}[compute]\nisa = \"{unavailable}\"\n"),
            "is not available on this machine",
        ),
        (
            TINY.replace("name", "chat_template = \"chatmll\"\nname"),
            "chat template: \"chatmll\"",
        ),
        (
            TINY.replace("name", "chat_template = \"{{ messages\"\nname"),
            "chat template: line 1",
        ),
    ];
    for (config, sentence) in cases {
        let home = Home::new("");
        std::fs::write(home.path().join("woolly.toml"), config).unwrap();
        let output = home.run(&["--check"]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(78), "{stderr}");
        assert!(stderr.contains(sentence), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}
