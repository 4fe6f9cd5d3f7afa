//! `/v1/files` and `/v1/batches`: the life of a batch, what is refused before anything runs, and what survives a crash.

use serde_json::{Value, json};

use crate::support::daemon::{Daemon, Home, LONG, TINY};
use crate::support::http::{Client, Response, multipart};

pub(crate) fn upload_as(client: &Client, purpose: &str, content: &[u8]) -> Response {
    let (kind, body) = multipart(purpose, content);
    client.send("POST", "/v1/files", &[("content-type", &kind)], &body)
}

pub(crate) fn upload(client: &Client, content: &str) -> String {
    let file = upload_as(client, "batch", content.as_bytes()).expect(200);
    assert_eq!(
        (
            &file["object"],
            &file["bytes"],
            &file["filename"],
            &file["status"]
        ),
        (
            &json!("file"),
            &json!(content.len()),
            &json!("in.jsonl"),
            &json!("processed")
        )
    );
    file["id"].as_str().unwrap().to_owned()
}

pub(crate) fn line(id: &str, body: Value) -> String {
    let line = json!({"custom_id": id, "method": "POST", "url": "/v1/completions", "body": body});
    line.to_string() + "\n"
}

pub(crate) fn body(prompt: &str) -> Value {
    json!({"prompt": prompt, "max_tokens": 4, "temperature": 0, "ignore_eos": true})
}

pub(crate) fn create(client: &Client, file: &str, window: &str) -> Value {
    let request = json!({
        "input_file_id": file, "endpoint": "/v1/completions", "completion_window": window,
        "metadata": {"who": "test"}
    });
    client.post("/v1/batches", &request).expect(200)
}

/// Asks until the batch is at its end. It has no events of its own: each answer waits for a commit.
pub(crate) fn wait(client: &Client, id: &str) -> Value {
    loop {
        let batch = client.get(&format!("/v1/batches/{id}")).expect(200);
        let status = batch["status"].as_str().unwrap();
        if ["completed", "failed", "expired", "cancelled"].contains(&status) {
            return batch;
        }
        std::thread::yield_now();
    }
}

pub(crate) fn content(client: &Client, id: &Value) -> Vec<Value> {
    let path = format!("/v1/files/{}/content", id.as_str().unwrap());
    let response = client.get(&path);
    assert_eq!(response.status, 200);
    let text = String::from_utf8(response.body).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn the_lines_of_a_file_become_answers_and_errors() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let mut lines: String = (0..30)
        .map(|i| line(&format!("r{i}"), body(&format!("p{i}"))))
        .collect();
    lines += "\n";
    lines += &line("bad", json!({"prompt": "x", "max_tokens": -1}));
    lines += &line("stream", json!({"prompt": "x", "stream": true}));
    let file = upload(&client, &lines);
    let batch = create(&client, &file, "24h");
    assert_eq!(
        (
            &batch["object"],
            &batch["endpoint"],
            &batch["completion_window"]
        ),
        (&json!("batch"), &json!("/v1/completions"), &json!("24h"))
    );
    let id = batch["id"].as_str().unwrap();
    let done = wait(&client, id);
    assert_eq!(done["status"], "completed");
    assert_eq!(
        done["request_counts"],
        json!({"total": 32, "completed": 30, "failed": 2})
    );
    assert_eq!(
        (&done["errors"], &done["metadata"]),
        (&Value::Null, &json!({"who": "test"}))
    );
    assert_eq!(done["usage"]["output_tokens"], 120);
    let times = [
        "created_at",
        "in_progress_at",
        "finalizing_at",
        "completed_at",
    ]
    .map(|key| done[key].as_i64().unwrap());
    assert!(times.is_sorted());
    assert_eq!(done["expires_at"].as_i64().unwrap() - times[0], 24 * 3600);
    let output = content(&client, &done["output_file_id"]);
    assert_eq!(output.len(), 30);
    for (i, answer) in output.iter().enumerate() {
        assert_eq!(answer["custom_id"], format!("r{i}"));
        assert_eq!(
            (&answer["response"]["status_code"], &answer["error"]),
            (&json!(200), &Value::Null)
        );
        // What the same request gives alone.
        let alone = client
            .post("/v1/completions", &body(&format!("p{i}")))
            .expect(200);
        assert_eq!(answer["response"]["body"]["choices"], alone["choices"]);
    }
    let errors = content(&client, &done["error_file_id"]);
    let brief = |error: &Value| {
        let response = &error["response"];
        (
            error["custom_id"].clone(),
            response["status_code"].clone(),
            response["body"]["error"]["type"].clone(),
        )
    };
    let refused = |id: &str| (json!(id), json!(400), json!("invalid_request_error"));
    assert_eq!(
        errors.iter().map(brief).collect::<Vec<_>>(),
        [refused("bad"), refused("stream")]
    );

    // Lists, and the files of it all.
    let list = client.get("/v1/batches?limit=1").expect(200);
    assert_eq!(
        (&list["data"][0]["id"], &list["has_more"]),
        (&json!(id), &json!(false))
    );
    let files = client.get("/v1/files").expect(200);
    assert_eq!(files["data"].as_array().unwrap().len(), 3);
    assert_eq!(files["last_id"], file);
    assert_eq!(
        client.get(&format!("/v1/files/{file}/content")).body,
        lines.as_bytes()
    );
    let deleted = client
        .send("DELETE", &format!("/v1/files/{file}"), &[], b"")
        .expect(200);
    assert_eq!(
        deleted,
        json!({"id": file, "object": "file", "deleted": true})
    );
    client.get(&format!("/v1/files/{file}")).expect(404);
    daemon.stop();
}

#[test]
fn mistakes_are_told_with_their_lines_before_anything_runs() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let mut lines =
        line("a", body("x")) + "\n" + &line("a", body("y")) + "{\"custom_id\": 5}\nnot json\n";
    lines += &json!({"custom_id": "c", "method": "POST", "url": "/v1/chat/completions", "body": {"messages": [{"role": "user", "content": "x"}]}})
        .to_string();
    let file = upload(&client, &lines);
    let batch = create(&client, &file, "1h");
    let failed = wait(&client, batch["id"].as_str().unwrap());
    assert_eq!(
        (&failed["status"], &failed["request_counts"]["total"]),
        (&json!("failed"), &json!(0))
    );
    let told: Vec<(Value, Value)> = failed["errors"]["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["code"].clone(), error["line"].clone()))
        .collect();
    let expected = [
        ("duplicate_custom_id", 3),
        ("invalid_request", 4),
        ("invalid_json_line", 5),
        ("mismatched_url", 6),
    ];
    assert_eq!(
        told,
        expected.map(|(code, line)| (json!(code), json!(line)))
    );
    let jobs = client.get("/v1/jobs").expect(200);
    assert_eq!(jobs["data"], json!([]));
    let empty = create(&client, &upload(&client, "\n \n"), "1h");
    let empty = wait(&client, empty["id"].as_str().unwrap());
    assert_eq!(empty["errors"]["data"][0]["code"], "empty_file");

    // Requests that are refused at once.
    assert_eq!(
        upload_as(&client, "fine-tune", b"x").expect(400)["error"]["param"],
        "purpose"
    );
    let unknown = json!({"input_file_id": "file-99", "endpoint": "/v1/completions", "completion_window": "24h"});
    assert_eq!(
        client.post("/v1/batches", &unknown).expect(400)["error"]["param"],
        "input_file_id"
    );
    client.get("/v1/batches/batch_99").expect(404);
    client.get("/v1/batches/../../etc").expect(404);
    client.get("/v1/files?limit=0").expect(400);
    client
        .send("POST", "/v1/files", &[("content-type", "text/plain")], b"x")
        .expect(400);
    daemon.stop();
}

#[test]
fn a_cancelled_batch_keeps_what_has_run() {
    let home = Home::new(&LONG.replace("slots = 2", "slots = 1"));
    let daemon = home.start();
    let client = daemon.client();
    let mut lines = line("short", body("x"));
    let endless = json!({"prompt": "y", "max_tokens": 30000, "ignore_eos": true});
    lines += &line("endless", endless.clone());
    lines += &line("waiting", endless);
    let file = upload(&client, &lines);
    let batch = create(&client, &file, "24h");
    let path = format!("/v1/batches/{}", batch["id"].as_str().unwrap());
    while client.get(&path).expect(200)["request_counts"]["completed"] != 1 {
        std::thread::yield_now();
    }
    // The file is needed until the end.
    let in_use = client
        .send("DELETE", &format!("/v1/files/{file}"), &[], b"")
        .expect(409);
    assert_eq!(in_use["error"]["code"], "file_in_use");
    let cancelling = client
        .send("POST", &format!("{path}/cancel"), &[], b"")
        .expect(200);
    assert!(cancelling["status"] == "cancelling" || cancelling["status"] == "cancelled");
    let cancelled = wait(&client, batch["id"].as_str().unwrap());
    assert_eq!(cancelled["status"], "cancelled");
    assert_eq!(
        cancelled["request_counts"],
        json!({"total": 3, "completed": 1, "failed": 0})
    );
    assert_eq!(
        content(&client, &cancelled["output_file_id"])[0]["custom_id"],
        "short"
    );
    let errors = content(&client, &cancelled["error_file_id"]);
    let brief: Vec<(&Value, &Value)> = errors
        .iter()
        .map(|line| (&line["custom_id"], &line["error"]["code"]))
        .collect();
    let code = json!("batch_cancelled");
    assert_eq!(
        brief,
        [(&json!("endless"), &code), (&json!("waiting"), &code)]
    );
    daemon.stop();
}

#[test]
fn what_is_not_done_in_time_is_told_as_expired() {
    let home = Home::new(&LONG.replace("slots = 2", "slots = 1"));
    let daemon = home.start();
    let client = daemon.client();
    let endless = json!({"prompt": "y", "max_tokens": 30000, "ignore_eos": true});
    let lines =
        line("short", body("x")) + &line("endless", endless.clone()) + &line("waiting", endless);
    let batch = create(&client, &upload(&client, &lines), "2s");
    let expired = wait(&client, batch["id"].as_str().unwrap());
    assert_eq!(expired["status"], "expired");
    assert!(expired["expired_at"].as_i64().unwrap() >= expired["expires_at"].as_i64().unwrap());
    let errors = content(&client, &expired["error_file_id"]);
    let mut late: Vec<&str> = vec![];
    for line in &errors {
        assert_eq!(
            (&line["response"], &line["error"]["code"]),
            (&Value::Null, &json!("batch_expired"))
        );
        late.push(line["custom_id"].as_str().unwrap());
    }
    // On a machine that stood still for two seconds the short one is late too.
    if expired["request_counts"]["completed"] == 1 {
        let output = content(&client, &expired["output_file_id"]);
        assert_eq!(output.len(), 1);
        assert_eq!(
            (
                &output[0]["custom_id"],
                output[0]["response"]["status_code"].as_u64()
            ),
            (&json!("short"), Some(200))
        );
        late.insert(0, "short");
    } else {
        assert_eq!(expired["output_file_id"], Value::Null);
    }
    assert_eq!(late, ["short", "endless", "waiting"]);
    daemon.stop();
}

/// Starts again after a kill, until the batch is done.
#[test]
fn a_batch_survives_kills_and_gives_the_same_bytes() {
    let lines: String = (0..200)
        .map(|i| line(&format!("r{i}"), body(&format!("prompt {i}"))))
        .collect();
    let answers = |output: Vec<Value>| -> Vec<(Value, Value)> {
        let answer = |line: Value| {
            (
                line["custom_id"].clone(),
                line["response"]["body"]["choices"].clone(),
            )
        };
        output.into_iter().map(answer).collect()
    };
    let calm = Home::new(TINY);
    let daemon = calm.start();
    let client = daemon.client();
    let batch = create(&client, &upload(&client, &lines), "24h");
    let done = wait(&client, batch["id"].as_str().unwrap());
    let expected = answers(content(&client, &done["output_file_id"]));
    assert_eq!(expected.len(), 200);
    daemon.stop();

    let home = Home::new(&format!("{TINY}[queue]\npoison_limit = 0\n"));
    let mut daemon: Daemon = home.start();
    let batch = create(&daemon.client(), &upload(&daemon.client(), &lines), "24h");
    let id = batch["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/batches/{id}");
    for completed in [0, 10, 60, 120, 199] {
        let client = daemon.client();
        let counts = |client: &Client| {
            client.get(&path).expect(200)["request_counts"]["completed"]
                .as_u64()
                .unwrap()
        };
        while counts(&client) < completed {
            std::thread::yield_now();
        }
        daemon.kill();
        daemon = home.start();
    }
    let client = daemon.client();
    let done = wait(&client, &id);
    assert_eq!(
        done["request_counts"],
        json!({"total": 200, "completed": 200, "failed": 0})
    );
    assert_eq!(answers(content(&client, &done["output_file_id"])), expected);
    daemon.stop();
    // Every file in the directory is known: the input and one output.
    let files = std::fs::read_dir(home.path().join("state/files"))
        .unwrap()
        .count();
    assert_eq!(files, 2);
}
