//! What is wrong with the lines of a batch: told before anything runs, or in the answer of the line.

use serde_json::{Value, json};

use crate::api_batches::{body, content, create, line, upload, upload_as, wait};
use crate::support::daemon::{Home, LONG, TINY};
use crate::support::http::Client;

/// What is told of a batch that failed: code, field and line.
fn told(client: &Client, lines: &[u8]) -> Vec<Value> {
    let file = upload_as(client, "batch", lines).expect(200);
    let batch = create(client, file["id"].as_str().unwrap(), "1h");
    let failed = wait(client, batch["id"].as_str().unwrap());
    assert_eq!(failed["status"], "failed");
    failed["errors"]["data"].as_array().unwrap().clone()
}

fn places(told: &[Value]) -> Vec<(&str, Option<&str>, Option<u64>)> {
    let place = |error| {
        let error: &Value = error;
        (
            error["code"].as_str().unwrap(),
            error["param"].as_str(),
            error["line"].as_u64(),
        )
    };
    told.iter().map(place).collect()
}

fn is_served(client: &Client) {
    let batch = create(client, &upload(client, &line("a", body("x"))), "1h");
    let done = wait(client, batch["id"].as_str().unwrap());
    assert_eq!(done["request_counts"]["completed"], 1);
}

#[test]
fn an_id_that_is_too_long_ends_its_batch_and_nothing_else() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let id = |bytes: usize| "\u{e9}".repeat(bytes / 2);
    let lines = [600, 3 << 20, 3 << 20].map(|bytes| line(&id(bytes), body("x")));
    let errors = told(&client, lines.concat().as_bytes());
    let place = |number| ("invalid_request", Some("custom_id"), Some(number));
    assert_eq!(places(&errors), [place(1), place(2), place(3)]);
    assert_eq!(
        errors[1]["message"],
        "custom_id must have at most 512 bytes"
    );
    // The longest one may be used, and a message quotes its beginning.
    let twice = line(&id(512), body("x")).repeat(2);
    let errors = told(&client, twice.as_bytes());
    let duplicate = ("duplicate_custom_id", Some("custom_id"), Some(2));
    assert_eq!(places(&errors), [duplicate]);
    let message = format!("the custom_id {:?} was used before", id(128));
    assert_eq!(errors[0]["message"], message);
    is_served(&client);
    daemon.stop();
}

#[test]
fn what_stands_around_a_body_is_looked_at_before_anything_runs() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let good = json!({"custom_id": "", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}});
    let mistakes = [
        ("method", json!("GET"), "invalid_request"),
        ("method", Value::Null, "invalid_request"),
        ("url", json!("/v1/embeddings"), "invalid_url"),
        ("url", Value::Null, "invalid_url"),
        ("body", json!("text"), "invalid_request"),
        ("body", Value::Null, "invalid_request"),
    ];
    let mut lines = line("fine", body("x"));
    for (number, (field, value, _)) in mistakes.iter().enumerate() {
        let mut line = good.clone();
        line["custom_id"] = json!(format!("r{number}"));
        line[field] = value.clone();
        lines += &(line.to_string() + "\n");
    }
    let errors = told(&client, lines.as_bytes());
    let expected = mistakes.iter().enumerate();
    let expected =
        expected.map(|(number, (field, _, code))| (*code, Some(*field), Some(number as u64 + 2)));
    assert_eq!(places(&errors), expected.collect::<Vec<_>>());
    assert_eq!(client.get("/v1/jobs").expect(200)["data"], json!([]));
    daemon.stop();
}

/// Further apart than one step reads, and with line breaks as of another system.
#[test]
fn an_id_is_remembered_for_the_whole_file() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let lines: String = (0..4_500)
        .map(|n| line(&format!("r{n}"), body("x")))
        .collect();
    let lines = lines + &line("r0", body("x")) + &line("r4499", body("x"));
    let errors = told(&client, lines.replace('\n', "\r\n").as_bytes());
    let twice = |number| ("duplicate_custom_id", Some("custom_id"), Some(number));
    assert_eq!(places(&errors), [twice(4_501), twice(4_502)]);
    daemon.stop();
}

#[test]
fn a_refused_request_says_which_field_is_to_blame() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let streamed = line("streamed", json!({"prompt": "x", "stream": true}));
    let negative = json!({"prompt": "x", "max_tokens": -1});
    let lines = streamed + &line("negative", negative.clone());
    let batch = create(&client, &upload(&client, &lines), "1h");
    let done = wait(&client, batch["id"].as_str().unwrap());
    assert_eq!(done["status"], "completed");
    assert_eq!(done["model"], "tiny");
    let errors = content(&client, &done["error_file_id"]);
    let error = |number: usize| errors[number]["response"]["body"]["error"].clone();
    assert_eq!(error(0)["param"], "body.stream");
    assert_eq!(
        error(0)["message"],
        "body.stream has no meaning in a batch; leave it out"
    );
    // As its endpoint says it.
    let alone = client.post("/v1/completions", &negative).expect(400);
    assert_eq!(error(1), alone["error"]);
    assert_eq!(error(1)["param"], "max_tokens");
    daemon.stop();
}

#[test]
fn every_mistake_is_told_up_to_a_hundred() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let mut lines = b"\"\xff\"\n".to_vec();
    lines.extend_from_slice(b"  {\"custom_id\" 1}\n");
    // Longer than a line may be, and still only one.
    lines.extend(vec![b' '; 5 << 20]);
    lines.extend_from_slice(b"x\n[]\n");
    let errors = told(&client, &lines);
    let place = |number| ("invalid_json_line", None, Some(number));
    assert_eq!(places(&errors), [place(1), place(2), place(3), place(4)]);
    let messages: Vec<&Value> = errors.iter().map(|error| &error["message"]).collect();
    assert_eq!(
        messages,
        [
            "the line is not UTF-8 text",
            "the line is not valid JSON: expected `:` at column 16",
            "the line is longer than 4202496 bytes ([api] max_body_bytes, and 8192 around a body)",
            "the line must be a JSON object",
        ]
    );

    assert_eq!(told(&client, "?\n".repeat(100).as_bytes()).len(), 100);
    let errors = told(&client, "?\n".repeat(101).as_bytes());
    assert_eq!(errors.len(), 101);
    assert_eq!(errors[99]["line"], 100);
    assert_eq!(places(&errors)[100], ("too_many_errors", None, None));
    daemon.stop();
}

#[test]
fn a_request_that_was_cancelled_by_itself_lets_its_batch_complete() {
    let home = Home::new(&LONG.replace("slots = 2", "slots = 1"));
    let daemon = home.start();
    let client = daemon.client();
    let endless = json!({"prompt": "y", "max_tokens": 30000, "ignore_eos": true});
    let lines = line("short", body("x")) + &line("endless", endless);
    let batch = create(&client, &upload(&client, &lines), "24h");
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    while client.get(&path).expect(200)["request_counts"]["completed"] != 1 {
        std::thread::yield_now();
    }
    let jobs = client.get("/v1/jobs?limit=1").expect(200);
    let job = jobs["data"][0]["id"].as_str().unwrap();
    let cancel = format!("/v1/jobs/{job}/cancel");
    client.send("POST", &cancel, &[], b"").expect(200);
    let done = wait(&client, batch["id"].as_str().unwrap());
    assert_eq!(done["status"], "completed");
    assert_eq!(
        done["request_counts"],
        json!({"total": 2, "completed": 1, "failed": 1})
    );
    let errors = content(&client, &done["error_file_id"]);
    assert_eq!(errors[0]["error"]["code"], "job_cancelled");
    daemon.stop();
}
