//! Batches beside each other, and the files that they need: long ones, unreadable ones, lost ones, and how much one
//! user may have of them.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::api_batches::{body, create, line, upload, wait};
use crate::support::daemon::{Home, TINY};

/// The only file in the directory of files.
fn only_file(home: &Home) -> PathBuf {
    let mut files = std::fs::read_dir(home.path().join("state/files")).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

#[test]
fn a_long_file_holds_up_no_other_batch_and_can_be_cancelled_at_once() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let long: String = (0..200_000)
        .map(|number| line(&format!("r{number}"), body("x")))
        .collect();
    let long = create(&client, &upload(&client, &long), "24h");
    let short = create(&client, &upload(&client, &line("a", body("x"))), "24h");
    let short = wait(&client, short["id"].as_str().unwrap());
    assert_eq!(short["status"], "completed");
    let long = long["id"].as_str().unwrap();
    let path = format!("/v1/batches/{long}");
    assert_eq!(client.get(&path).expect(200)["status"], "validating");
    client
        .send("POST", &format!("{path}/cancel"), &[], b"")
        .expect(200);
    let cancelled = wait(&client, long);
    assert_eq!(
        (&cancelled["status"], &cancelled["request_counts"]["total"]),
        (&json!("cancelled"), &json!(0))
    );
    daemon.stop();
}

#[test]
fn what_may_pass_is_waited_for_and_what_is_gone_is_not() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let input = upload(&client, &line("a", body("x")));
    let file = only_file(&home);
    let away = home.path().join("away");
    std::fs::rename(&file, &away).unwrap();
    // Links that lead to themselves cannot be followed, as a process with too many files open can follow none.
    symlink(&file, &file).unwrap();
    let stuck = create(&client, &input, "24h");
    // Others go on meanwhile.
    let other = create(&client, &upload(&client, &line("b", body("x"))), "24h");
    let other = wait(&client, other["id"].as_str().unwrap());
    assert_eq!(other["status"], "completed");
    let stuck = stuck["id"].as_str().unwrap();
    let now = client.get(&format!("/v1/batches/{stuck}")).expect(200);
    assert_eq!(now["status"], "validating");
    std::fs::rename(&away, &file).unwrap();
    let done = wait(&client, stuck);
    assert_eq!(
        (&done["status"], &done["request_counts"]["completed"]),
        (&json!("completed"), &json!(1))
    );

    std::fs::remove_file(&file).unwrap();
    let lost = create(&client, &input, "24h");
    let failed = wait(&client, lost["id"].as_str().unwrap());
    assert_eq!(failed["status"], "failed");
    assert_eq!(
        failed["errors"]["data"][0]["message"],
        format!("{input} was deleted")
    );
    let content = client.get(&format!("/v1/files/{input}/content"));
    content.expect(404);
    daemon.kill();
}

#[test]
fn an_open_batch_counts_as_its_file_does() {
    let home = Home::new(&format!("{TINY}[queue]\nmax_bytes_per_user = \"500B\"\n"));
    let daemon = home.start();
    let client = daemon.client();
    client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
    let lines = line("a", body(&"x".repeat(100)));
    assert!((167..250).contains(&lines.len()), "{}", lines.len());
    let file = upload(&client, &lines);
    let first = create(&client, &file, "24h");
    let request = json!({
        "input_file_id": file, "endpoint": "/v1/completions", "completion_window": "24h"
    });
    let refused = client.post("/v1/batches", &request);
    assert_eq!(refused.header("retry-after"), Some("10"));
    let message = "the queue is full: requests and files of a user may have 500 bytes";
    assert_eq!(refused.expect(429)["error"]["message"], message);
    let path = format!("/v1/batches/{}/cancel", first["id"].as_str().unwrap());
    client.send("POST", &path, &[], b"").expect(200);
    wait(&client, first["id"].as_str().unwrap());
    daemon.stop();
    let problems = woolly::queue::check(&home.path().join("state")).unwrap();
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn a_batch_is_created_once_for_a_key() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let file = upload(&client, &line("a", body("x")));
    let request = |window: &str| {
        json!({
            "input_file_id": file, "endpoint": "/v1/completions", "completion_window": window
        })
    };
    let ask = |window: &str| {
        let request = request(window).to_string();
        let headers = [("idempotency-key", "k")];
        client.send("POST", "/v1/batches", &headers, request.as_bytes())
    };
    let first = ask("24h").expect(200);
    wait(&client, first["id"].as_str().unwrap());
    let again = ask("24h").expect(200);
    assert_eq!(
        (&again["id"], &again["status"]),
        (&first["id"], &json!("completed"))
    );
    let other = ask("23h");
    assert_eq!(other.header("x-should-retry"), Some("false"));
    assert_eq!(other.expect(409)["error"]["code"], "idempotency_conflict");
    // Also when its input is gone, which makes no new one.
    let path = format!("/v1/files/{file}");
    client.send("DELETE", &path, &[], b"").expect(200);
    assert_eq!(ask("24h").expect(200), again);
    let lost = client.post("/v1/batches", &request("24h")).expect(400);
    assert_eq!(lost["error"]["param"], "input_file_id");
    let list = client.get("/v1/batches").expect(200);
    assert_eq!(list["data"].as_array().unwrap().len(), 1);
    daemon.stop();
}

#[test]
fn files_are_listed_by_purpose() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let input = upload(&client, &line("a", body("x")));
    let batch = create(&client, &input, "24h");
    let done = wait(&client, batch["id"].as_str().unwrap());
    let listed = |query: &str| -> Vec<Value> {
        let list = client.get(&format!("/v1/files{query}")).expect(200);
        let ids = list["data"].as_array().unwrap().iter();
        ids.map(|file| file["id"].clone()).collect()
    };
    let output = done["output_file_id"].clone();
    assert_eq!(listed("?purpose=batch"), [json!(input)]);
    assert_eq!(listed("?purpose=batch_output&order=desc"), [output]);
    assert_eq!(listed("").len(), 2);
    assert_eq!(listed("?purpose=vision"), Vec::<Value>::new());
    let refused = client.get("/v1/files?order=asc").expect(400);
    assert_eq!(refused["error"]["param"], "order");
    // One name for each.
    assert_eq!(input, "file-1");
    for path in ["/v1/files/file-01", "/v1/batches/batch_01"] {
        client.get(path).expect(404);
    }
    daemon.stop();
}
