//! `/v1/jobs`: submit, follow, list, cancel, and who may.

use serde_json::{Value, json};

use crate::support::daemon::{Home, LONG, TINY};
use crate::support::http::Client;

fn job(prompt: &str) -> Value {
    let body = json!({"prompt": prompt, "max_tokens": 6, "temperature": 0, "ignore_eos": true});
    json!({"endpoint": "/v1/completions", "body": body})
}

/// A job that takes a while.
fn endless() -> Value {
    let mut job = job("x");
    job["body"]["max_tokens"] = 30000.into();
    job
}

#[test]
fn a_paused_queue_accepts_jobs_and_starts_none_until_it_is_resumed() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let set = |client: &Client, what: &str| {
        let path = format!("/v1/queue/{what}");
        client.send("POST", &path, &[], b"").expect(200)["paused"].clone()
    };
    let running = daemon.client().submit(&endless());
    while daemon
        .client()
        .get(&format!("/v1/jobs/{running}"))
        .expect(200)["status"]
        != "running"
    {
        std::thread::yield_now();
    }
    assert_eq!(set(&daemon.client(), "pause"), true);
    let waiting = daemon.client().submit(&job("waits"));
    assert_eq!(daemon.client().get("/health").expect(200)["paused"], true);
    let status = |client: &Client, id: &str| {
        client.get(&format!("/v1/jobs/{id}")).expect(200)["status"].clone()
    };
    assert_eq!(status(&daemon.client(), &running), "running");
    daemon.kill();
    // What had run waits as well.
    let daemon = home.start();
    let client = daemon.client();
    assert_eq!(
        [&running, &waiting].map(|id| status(&client, id)),
        ["queued", "queued"]
    );
    client
        .send("POST", &format!("/v1/jobs/{running}/cancel"), &[], b"")
        .expect(200);
    assert_eq!(status(&client, &waiting), "queued");
    assert_eq!(set(&client, "resume"), false);
    assert_eq!(client.ended(&waiting)["status"], "completed");
    daemon.stop();
}

#[test]
fn a_drained_queue_takes_nothing_in_and_runs_what_it_has() {
    use crate::support::cli::{ctl, say};
    let home = Home::new(LONG);
    let daemon = home.start();
    let client = daemon.client();
    let running = client.submit(&endless());
    let mut tomorrow = job("tomorrow");
    tomorrow["not_before"] = (unix_now() + 86_400).into();
    let waits = client.submit(&tomorrow);
    let socket = home.socket();
    let drained = say(ctl(&socket, &["queue", "drain"])).ends_with(0);
    assert_eq!(drained.out, "no new jobs are taken in\n");
    let refused = client.post("/v1/jobs", &job("late"));
    assert_eq!(refused.header("retry-after"), Some("5"));
    assert_eq!(refused.expect(503)["error"]["code"], "draining");
    client
        .post("/v1/completions", &job("late")["body"])
        .expect(503);
    daemon.kill();
    let daemon = home.start();
    let client = daemon.client();
    assert_eq!(client.get("/health").expect(200)["draining"], true);
    client
        .send("POST", &format!("/v1/jobs/{running}/cancel"), &[], b"")
        .expect(200);
    // A pause does not open it again, and is not undone by a drain.
    client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
    client.post("/v1/jobs", &job("late")).expect(503);
    let waiting = say(ctl(&socket, &["queue", "drain", "--wait"])).ends_with(1);
    assert!(
        waiting.err.contains("the queue is paused"),
        "{}",
        waiting.err
    );
    let both = client.get("/health").expect(200);
    assert_eq!(
        (&both["paused"], &both["draining"]),
        (&json!(true), &json!(true))
    );
    // Where nothing waits there is nothing to wait for.
    client
        .send("POST", &format!("/v1/jobs/{waits}/cancel"), &[], b"")
        .expect(200);
    say(ctl(&socket, &["queue", "drain", "--wait"])).ends_with(0);
    say(ctl(&socket, &["queue", "resume"])).ends_with(0);
    let waited = say(ctl(&socket, &["queue", "drain", "--wait", "--json"])).ends_with(0);
    let answer: Value = serde_json::from_str(&waited.out).unwrap();
    assert_eq!(
        answer,
        json!({"object": "queue", "paused": false, "draining": true})
    );
    say(ctl(&socket, &["queue", "resume"])).ends_with(0);
    assert_eq!(
        client.ended(&client.submit(&job("late")))["status"],
        "completed"
    );
    daemon.stop();
}

fn unix_now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs() as i64
}

#[test]
fn a_job_starts_at_its_time_and_expires_at_its_deadline() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let client = daemon.client();
    let now = unix_now();
    let with = |mut job: Value, key: &str, time: i64| {
        job[key] = time.into();
        client.submit(&job)
    };
    let later = with(job("later"), "not_before", now + 2);
    let running = with(endless(), "deadline", now + 2);
    let passed = with(job("passed"), "deadline", now - 5);
    let waiting = client.get(&format!("/v1/jobs/{later}")).expect(200);
    assert_eq!(waiting["not_before"], now + 2);
    // Unless the machine stood still meanwhile.
    if unix_now() < now + 2 {
        assert_eq!(
            (&waiting["status"], &waiting["position"]),
            (&json!("queued"), &Value::Null)
        );
    }
    // A stream of a job that expires ends, and its answer is not a shortened one.
    for id in [&passed, &running] {
        let expired = client.ended(id);
        assert_eq!(expired["status"], "expired");
        assert_eq!(expired["error"]["code"], "expired");
        assert_eq!(
            (&expired["result"], &expired["usage"]),
            (&Value::Null, &Value::Null)
        );
    }
    assert!(unix_now() >= now + 2);
    let done = client.ended(&later);
    assert_eq!(done["status"], "completed");
    assert!(done["started_at"].as_i64().unwrap() >= now + 2);
    daemon.stop();
}

#[test]
fn a_job_has_the_answer_of_its_endpoint() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let mut request = job("Hello");
    request["metadata"] = json!({"line": 3});
    request["priority"] = 5.into();
    let id = client.submit(&request);
    let events: Vec<String> = client
        .stream("GET", &format!("/v1/jobs/{id}/events"), b"")
        .collect();
    let done = client.ended(&id);
    assert_eq!(
        (&done["status"], &done["priority"]),
        (&json!("completed"), &json!(5))
    );
    assert_eq!(done["metadata"], json!({"line": 3}));
    assert_eq!(done["usage"]["completion_tokens"], 6);
    assert!(done["finished_at"].as_i64().unwrap() >= done["created_at"].as_i64().unwrap());

    let direct = client.post("/v1/completions", &request["body"]).expect(200);
    assert_eq!(done["result"]["choices"], direct["choices"]);
    // A job that ended before it was followed streams nothing but its end.
    if events.len() > 1 {
        let texts = events
            .iter()
            .filter_map(|event| serde_json::from_str::<Value>(event).ok());
        let text: String = texts
            .filter_map(|chunk| Some(chunk["choices"][0]["text"].as_str()?.to_owned()))
            .collect();
        assert_eq!(direct["choices"][0]["text"], text);
    }
}

#[test]
fn jobs_are_listed_newest_first_in_pages() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let ids: Vec<String> = (0..5)
        .map(|n| client.submit(&job(&n.to_string())))
        .collect();
    for id in &ids {
        assert_eq!(client.ended(id)["status"], "completed");
    }
    let page = client.get("/v1/jobs?limit=3&status=completed").expect(200);
    let listed = |page: &Value| -> Vec<String> {
        let jobs = page["data"].as_array().unwrap().iter();
        jobs.map(|job| job["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        listed(&page),
        [&ids[4], &ids[3], &ids[2]].map(String::as_str)
    );
    assert_eq!(page["has_more"], true);
    let rest = client
        .get(&format!("/v1/jobs?limit=3&after={}", ids[2]))
        .expect(200);
    assert_eq!(listed(&rest), [&ids[1], &ids[0]].map(String::as_str));
    assert_eq!(rest["has_more"], false);
    assert_eq!(
        client.get("/v1/jobs?limit=0").expect(400)["error"]["param"],
        "limit"
    );
}

#[test]
fn a_running_job_is_cancelled_at_the_next_token() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let client = daemon.client();
    let id = client.submit(&endless());
    let mut events = client.stream("GET", &format!("/v1/jobs/{id}/events"), b"");
    events.next().unwrap();
    let cancelled = client
        .post(&format!("/v1/jobs/{id}/cancel"), &json!({}))
        .expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    let last: Value = serde_json::from_str(&events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "cancelled");
    let job_after = client.ended(&id);
    assert_eq!(
        (&job_after["status"], &job_after["result"]),
        (&json!("cancelled"), &Value::Null)
    );
    // Its slot is free again.
    let next = client.submit(&job("y"));
    assert_eq!(client.ended(&next)["status"], "completed");
    // And what is over stays as it is.
    let after = client
        .post(&format!("/v1/jobs/{next}/cancel"), &json!({}))
        .expect(200);
    assert_eq!(after["status"], "completed");
}

#[test]
fn all_open_jobs_are_cancelled() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let client = daemon.client();
    let running = client.submit(&endless());
    let mut events = client.stream("GET", &format!("/v1/jobs/{running}/events"), b"");
    events.next().unwrap();
    client.post("/v1/queue/pause", &json!({})).expect(200);
    let (older, newer) = (client.submit(&job("a")), client.submit(&job("b")));
    let cancel = |query: &str| {
        let path = format!("/v1/jobs/cancel{query}");
        client.post(&path, &json!({})).expect(200)
    };
    assert_eq!(
        cancel(&format!("?before={newer}")),
        json!({"object": "jobs.cancelled", "cancelled": 2, "more_before": null})
    );
    let last: Value = serde_json::from_str(&events.last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], "cancelled");
    let status = |id: &str| client.get(&format!("/v1/jobs/{id}")).expect(200)["status"].clone();
    assert_eq!(
        [&running, &older, &newer].map(|id| status(id)),
        ["cancelled", "cancelled", "queued"]
    );
    assert_eq!(cancel("")["cancelled"], 1);
    assert_eq!(
        cancel(""),
        json!({"object": "jobs.cancelled", "cancelled": 0, "more_before": null})
    );
}

#[test]
fn the_same_key_is_the_same_job() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let key = [("idempotency-key", "k-1")];
    let send = |job: &Value| client.send("POST", "/v1/jobs", &key, job.to_string().as_bytes());
    let first = send(&job("a")).expect(202);
    let second = send(&job("a")).expect(202);
    assert_eq!(first["id"], second["id"]);
    let conflict = send(&job("b"));
    assert_eq!(conflict.header("x-should-retry"), Some("false"));
    assert_eq!(
        conflict.expect(409)["error"]["code"],
        "idempotency_conflict"
    );
}

#[test]
fn a_key_finds_its_job_whatever_the_model_is_now() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let long = json!({"prompt": "x ".repeat(60), "max_tokens": 6, "temperature": 0});
    let request = json!({"endpoint": "/v1/completions", "body": long});
    let jobs = |client: &Client, request: &Value, key: &str| {
        let key = [("idempotency-key", key)];
        client.send("POST", "/v1/jobs", &key, request.to_string().as_bytes())
    };
    let direct = |client: &Client, body: &Value, key: &str| {
        let key = [("idempotency-key", key)];
        client.send("POST", "/v1/completions", &key, body.to_string().as_bytes())
    };
    let mut streamed = long.clone();
    streamed["stream"] = true.into();
    let id = jobs(&daemon.client(), &request, "later").expect(202)["id"].clone();
    let answer = direct(&daemon.client(), &long, "now").expect(200);
    direct(&daemon.client(), &streamed, "streamed");
    daemon.stop();
    // The prompt does not fit any more.
    home.reconfigure("context_length = 32768", "context_length = 64");
    let daemon = home.start();
    let client = daemon.client();
    assert_eq!(jobs(&client, &request, "later").expect(202)["id"], id);
    assert_eq!(direct(&client, &long, "now").expect(200), answer);
    let stream = String::from_utf8(direct(&client, &streamed, "streamed").body).unwrap();
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert!(stream.contains(&json!(text).to_string()), "{stream}");
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    // What is not known is refused as without a key, and so is another request with a known one.
    jobs(&client, &request, "new").expect(400);
    direct(&client, &long, "new").expect(400);
    jobs(&client, &job("other"), "now").expect(409);
    assert_eq!(client.get("/health").expect(200)["jobs"]["completed"], 3);
    daemon.stop();
}

#[test]
fn a_full_queue_says_when_to_come_back() {
    let home = Home::new(&format!("{LONG}\n[queue]\nmax_jobs = 1\n"));
    let daemon = home.start();
    let client = daemon.client();
    let id = client.submit(&endless());
    let full = client.post("/v1/jobs", &job("x"));
    assert_eq!(full.header("retry-after"), Some("10"));
    assert_eq!(full.expect(429)["error"]["code"], "queue_full");
    client
        .post(&format!("/v1/jobs/{id}/cancel"), &json!({}))
        .expect(200);
    client.submit(&job("x"));
}

#[test]
fn bad_jobs_are_refused_with_the_field_named() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let param = |job: Value| client.post("/v1/jobs", &job).expect(400)["error"]["param"].clone();
    assert_eq!(
        param(json!({"endpoint": "/v1/embeddings", "body": {}})),
        "endpoint"
    );
    assert_eq!(param(json!({"endpoint": "/v1/completions"})), "body");
    assert_eq!(
        param(json!({"endpoint": "/v1/completions", "body": {"prompt": 7}})),
        "body.prompt"
    );
    for missing in ["job_999", "999", "nonsense"] {
        assert_eq!(
            client.get(&format!("/v1/jobs/{missing}")).expect(404)["error"]["code"],
            "not_found"
        );
    }
    let refused = client.get("/v1/jobs/job_999").expect(404);
    assert_eq!(refused["error"]["message"], "there is no job job_999");
    let refused = client.get("/v1/jobs/%ff").expect(400);
    assert_eq!(refused["error"]["type"], "invalid_request_error");
}

#[test]
fn users_see_only_their_own_jobs() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can take the place of other users");
        return;
    }
    let home = Home::with_daemon_keys("socket_mode = \"0666\"\nadmin_uids = [4003]", TINY);
    let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(home.path(), everyone).unwrap();
    let daemon = home.start();
    // The kernel notes the user of the thread that connects.
    let as_user = |uid: u32, request: &(dyn Fn(&Client) + Sync)| {
        std::thread::scope(|scope| {
            let client = daemon.client();
            let thread = scope.spawn(move || {
                rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(uid)).unwrap();
                request(&client);
            });
            thread.join().unwrap();
        });
    };
    let id = std::sync::Mutex::new(String::new());
    as_user(4001, &|client| {
        *id.lock().unwrap() = client.submit(&job("mine"))
    });
    let id = id.into_inner().unwrap();
    let path = format!("/v1/jobs/{id}");
    let count = |client: &Client| {
        client.get("/v1/jobs").expect(200)["data"]
            .as_array()
            .unwrap()
            .len()
    };

    as_user(4001, &|client| {
        assert_eq!(client.ended(&id)["status"], "completed");
        assert_eq!(count(client), 1);
    });
    as_user(4002, &|client| {
        assert_eq!(client.get(&path).status, 404);
        assert_eq!(client.get(&format!("{path}/events")).status, 404);
        assert_eq!(
            client.post(&format!("{path}/cancel"), &json!({})).status,
            404
        );
        assert_eq!(count(client), 0);
        let all = client.post("/v1/jobs/cancel", &json!({})).expect(200);
        assert_eq!(all["cancelled"], 0);
    });
    for admin in [0, 4003] {
        as_user(admin, &|client| {
            assert_eq!(client.get(&path).status, 200);
            assert_eq!(count(client), 1);
        });
    }
    as_user(65_534, &|client| {
        assert_eq!(client.get("/v1/jobs").status, 403);
        assert_eq!(client.post("/v1/jobs", &job("x")).status, 403);
        assert_eq!(
            client.post("/v1/completions", &job("x")["body"]).status,
            200
        );
    });
    // Nobody knows who else has that number: they share no results, as a user's own requests do.
    let mut again = job("shared")["body"].clone();
    again["reuse"] = true.into();
    for uid in [65_534, 4001] {
        for _ in 0..2 {
            as_user(uid, &|client| {
                client.post("/v1/completions", &again).expect(200);
            });
        }
    }
    let log = daemon.stop();
    let shared = log.matches("answered with the result of an equal one");
    assert_eq!(shared.count(), 1, "{log}");
}
