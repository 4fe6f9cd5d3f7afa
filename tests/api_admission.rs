//! What the queue says before a job runs: that it is full, when a job will run, and that it would be too late.

use serde_json::{Value, json};

use crate::support::daemon::{Home, LONG, TINY};
use crate::support::http::{Response, multipart};

fn job(max_tokens: u32) -> Value {
    let body =
        json!({"prompt": "x", "max_tokens": max_tokens, "temperature": 0, "ignore_eos": true});
    json!({"endpoint": "/v1/completions", "body": body})
}

fn refused(response: Response) -> (String, String) {
    assert_eq!(response.status, 429);
    assert_eq!(response.header("retry-after"), Some("10"));
    let error = response.json()["error"].clone();
    let text = |name: &str| error[name].as_str().unwrap().to_owned();
    (text("code"), text("message"))
}

#[test]
fn a_share_that_is_full_is_429_and_says_which() {
    let home = Home::new(&format!(
        "{LONG}[queue]\nmax_jobs_per_user = 2\nmax_bytes_per_user = \"1KiB\"\n"
    ));
    let daemon = home.start();
    let client = daemon.client();
    let first = client.submit(&job(30_000));
    client.submit(&job(30_000));
    let full = |sentence: &str| {
        let message = format!("the queue is full: {sentence}");
        ("queue_full".to_owned(), message)
    };
    let answer = refused(client.post("/v1/jobs", &job(1)));
    assert_eq!(answer, full("2 jobs of this user are waiting or running"));
    // The synchronous endpoints are the same queue.
    let answer = refused(client.post("/v1/completions", &job(1)["body"]));
    assert_eq!(answer, full("2 jobs of this user are waiting or running"));
    client
        .send("POST", &format!("/v1/jobs/{first}/cancel"), &[], b"")
        .expect(200);
    let mut large = job(1);
    large["body"]["prompt"] = "x".repeat(900).into();
    let answer = refused(client.post("/v1/jobs", &large));
    assert_eq!(
        answer,
        full("requests and files of a user may have 1024 bytes")
    );
    // What can never fit is not told to come again.
    large["body"]["prompt"] = "x".repeat(1_100).into();
    let never = client.post("/v1/jobs", &large);
    assert_eq!((never.status, never.header("retry-after")), (413, None));
    assert_eq!(never.header("x-should-retry"), Some("false"));
    assert_eq!(never.json()["error"]["code"], "request_too_large");
    client.submit(&job(1));
    daemon.kill();
}

#[test]
fn an_uploaded_file_counts_and_a_refused_one_leaves_nothing() {
    let home = Home::new(&format!("{TINY}[queue]\nmax_bytes = \"200B\"\n"));
    let daemon = home.start();
    let upload = |bytes: usize| {
        let (kind, body) = multipart("batch", "x".repeat(bytes).as_bytes());
        let headers = [("content-type", &*kind)];
        daemon.client().send("POST", "/v1/files", &headers, &body)
    };
    let file = upload(150).expect(200);
    let (code, message) = refused(upload(60));
    assert_eq!(code, "queue_full");
    assert_eq!(
        message,
        "the queue is full: requests and files may have 200 bytes"
    );
    let files = std::fs::read_dir(home.path().join("state/files")).unwrap();
    assert_eq!(files.count(), 1);
    let path = format!("/v1/files/{}", file["id"].as_str().unwrap());
    daemon.client().send("DELETE", &path, &[], b"").expect(200);
    upload(60).expect(200);
    daemon.stop();
}

#[test]
fn a_status_says_when_and_a_deadline_that_cannot_be_met_is_refused() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let client = daemon.client();
    let now = || woolly::api::now_ms() / 1_000;
    let mut late = job(1);
    late["deadline"] = (now() - 5).into();
    late["refuse_late"] = true.into();
    // Nothing is known yet but what time it is.
    let refused = client.post("/v1/jobs", &late).expect(400);
    assert_eq!(refused["error"]["code"], "deadline_too_soon");
    let mut soon = late.clone();
    soon["deadline"] = (now() + 60).into();
    client.submit(&soon);
    let first = client.submit(&job(2));
    client.ended(&first);
    assert_eq!(
        client.job(&first)["estimated_start_at"],
        Value::Null,
        "it has ended"
    );
    let before = now();
    let running: Vec<String> = (0..2).map(|_| client.submit(&job(30_000))).collect();
    while running
        .iter()
        .any(|id| client.job(id)["status"] != "running")
    {
        std::thread::yield_now();
    }
    // The answer to a submit says so, too.
    let told: Vec<Value> = (0..40)
        .map(|_| client.post("/v1/jobs", &job(30_000)).expect(202))
        .collect();
    for (position, told) in told.iter().enumerate() {
        assert_eq!(told["position"], position);
        assert!(told["estimated_finish_at"].as_i64().unwrap() >= before);
    }
    let waiting: Vec<&str> = told.iter().map(|job| job["id"].as_str().unwrap()).collect();
    // And a list.
    let list = client.get("/v1/jobs?limit=3").expect(200);
    for (place, listed) in list["data"].as_array().unwrap().iter().enumerate() {
        assert_eq!(listed["id"], waiting[39 - place]);
        assert_eq!(listed["position"], 39 - place);
        assert!(listed["estimated_start_at"].as_i64().unwrap() >= before);
    }
    let estimate = |id: &str| {
        let job = client.job(id);
        let time = |name: &str| job[name].as_i64().unwrap();
        (time("estimated_start_at"), time("estimated_finish_at"))
    };
    let (first, last) = (estimate(waiting[0]), estimate(waiting[39]));
    assert!(
        first.0 >= before && first.1 >= first.0 && last.0 >= first.0,
        "{first:?} {last:?}"
    );
    let runs = client.job(&running[0]);
    assert_eq!(runs["estimated_start_at"], runs["started_at"]);
    let refused = client.post("/v1/jobs", &late).expect(400);
    assert_eq!(refused["error"]["code"], "deadline_too_soon");
    assert_eq!(refused["error"]["param"], "deadline");
    late["refuse_late"] = false.into();
    client.post("/v1/jobs", &late).expect(202);
    let paused = client.send("POST", "/v1/queue/pause", &[], b"");
    paused.expect(200);
    assert_eq!(client.job(waiting[39])["estimated_start_at"], Value::Null);
    let missing = client.post(
        "/v1/jobs",
        &json!({
            "endpoint": "/v1/completions", "body": {"prompt": "x"}, "refuse_late": true,
        }),
    );
    assert_eq!(missing.expect(400)["error"]["param"], "refuse_late");
    daemon.kill();
}
