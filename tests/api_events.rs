//! `/v1/jobs/{id}/events`: streams that break off and are taken up again, and how they end.

use serde_json::{Value, json};

use crate::support::daemon::{Home, LONG};
use crate::support::http::Client;

/// Nothing of a job is stored before its end.
const FORGETFUL: &str = "[queue]\npoison_limit = 0\ncheckpoint_tokens = 0\n";

fn request() -> Value {
    let body = json!({"prompt": "a", "n": 2, "max_tokens": 60, "temperature": 1, "seed": 5, "ignore_eos": true});
    json!({"endpoint": "/v1/completions", "body": body})
}

/// The whole stream of one who has come back.
fn back(client: &Client, id: &str, last: &str) -> String {
    let path = format!("/v1/jobs/{id}/events");
    let response = client.send("GET", &path, &[("last-event-id", last)], b"");
    assert_eq!(response.status, 200);
    String::from_utf8(response.body).unwrap()
}

/// The ids and data of a job's events, from after `last` on, at most so many.
fn events(client: &Client, id: &str, last: Option<&str>, most: usize) -> Vec<(String, String)> {
    use std::io::{BufRead, BufReader};
    let headers = last.map(|last| ("last-event-id", last));
    let path = format!("/v1/jobs/{id}/events");
    let connection = client.begin("GET", &path, headers.as_slice(), b"");
    let (mut events, mut event_id) = (vec![], String::new());
    for line in BufReader::new(connection).lines().map(Result::unwrap) {
        if let Some(id) = line.strip_prefix("id: ") {
            event_id = id.to_owned();
        } else if let Some(data) = line.strip_prefix("data: ") {
            if data == "[DONE]" || events.len() == most {
                break;
            }
            events.push((std::mem::take(&mut event_id), data.to_owned()));
        }
    }
    events
}

/// What each of four choices says in these events.
fn texts(events: &[(String, String)]) -> Vec<String> {
    let mut texts = vec![String::new(); 4];
    for (_, data) in events {
        let choice = &serde_json::from_str::<Value>(data).unwrap()["choices"][0];
        texts[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
    }
    texts
}

#[test]
fn a_client_that_comes_back_misses_nothing_and_gets_nothing_twice() {
    let home = Home::new(&format!("{LONG}[queue]\npoison_limit = 0\n"));
    let mut daemon = home.start();
    let body = json!({
        "prompt": ["a", "b"], "n": 2, "max_tokens": 300, "temperature": 1, "seed": 5, "ignore_eos": true
    });
    let request = json!({"endpoint": "/v1/completions", "body": body});
    let whole = daemon.client().submit(&request);
    let expected = texts(&events(&daemon.client(), &whole, None, usize::MAX));
    assert!(expected.iter().all(|text| text.len() > 100));

    let id = daemon.client().submit(&request);
    let mut all = events(&daemon.client(), &id, None, 20);
    // Broken off, and killed, again and again.
    for _ in 0..3 {
        let last = all.last().unwrap().0.clone();
        all.extend(events(&daemon.client(), &id, Some(&last), 40));
        daemon.kill();
        daemon = home.start();
    }
    let last = all.last().unwrap().0.clone();
    all.extend(events(&daemon.client(), &id, Some(&last), usize::MAX));
    assert_eq!(texts(&all), expected);
    // Over now; one who lost the end gets it all the same.
    let middle = all.len() - 7;
    let rest = events(&daemon.client(), &id, Some(&all[middle].0), usize::MAX);
    assert_eq!(texts(&[&all[..=middle], &rest[..]].concat()), expected);
    daemon.stop();
}

#[test]
fn tokens_of_another_model_void_what_a_client_has() {
    let home = Home::new(&format!("{LONG}{FORGETFUL}"));
    let daemon = home.start();
    let id = daemon.client().submit(&request());
    let had = events(&daemon.client(), &id, None, 20);
    daemon.kill();
    home.reconfigure("[synthetic]\n", "[synthetic]\nseed = 43\n");
    let daemon = home.start();
    let client = daemon.client();
    let stream = back(&client, &id, &had.last().unwrap().0);
    let begin: String = stream.chars().take(200).collect();
    assert!(
        stream.starts_with("event: restarted\ndata: {}\n"),
        "{begin}"
    );
    assert!(stream.ends_with("data: [DONE]\n\n"));
    let all = events(&client, &id, None, usize::MAX);
    let result = client.job(&id)["result"]["choices"].clone();
    assert_eq!(
        texts(&all)[..2],
        [0, 1].map(|n| result[n]["text"].as_str().unwrap())
    );
    assert!(stream.contains(&all[0].1), "from the beginning: {begin}");
    // Who has events of this model goes on behind them.
    let rest = back(&client, &id, &all[5].0);
    assert!(rest.starts_with(&format!("id: {}\n", all[6].0)), "{rest}");
    daemon.stop();
}

/// With more in its stream than generated text.
fn scored() -> Value {
    let mut request = request();
    request["body"]["echo"] = true.into();
    request["body"]["logprobs"] = 1.into();
    request["body"]["prompt"] = "a prompt".into();
    request
}

#[test]
fn the_stream_of_a_job_that_ended_meanwhile_is_told_out_of_its_result() {
    let home = Home::new(&format!("{LONG}{FORGETFUL}"));
    for request in [request(), scored()] {
        let daemon = home.start();
        let client = daemon.client();
        let whole = client.submit(&request);
        let expected = texts(&events(&client, &whole, None, usize::MAX));
        let id = client.submit(&request);
        let had = events(&client, &id, None, 50);
        daemon.kill();
        // Nobody follows it while it ends.
        let daemon = home.start();
        let client = daemon.client();
        assert_eq!(client.ended(&id)["status"], "completed");
        let rest = events(&client, &id, Some(&had[49].0), usize::MAX);
        assert_eq!(texts(&[&had[..], &rest[..]].concat()), expected);
        let rest = back(&client, &id, &had[49].0);
        assert!(rest.ends_with("data: [DONE]\n\n"));
        assert!(!rest.contains("event: "), "{rest}");
        // Nor did anybody ever follow it in this life; who had nothing gets everything.
        let all = events(&client, &whole, None, usize::MAX);
        assert_eq!(texts(&all), expected);
        // Events of another model are void.
        let other = format!("00000000-{}", had[49].0.split_once('-').unwrap().1);
        let all = back(&client, &id, &other);
        assert!(all.starts_with("event: restarted\ndata: {}\n"), "{all}");
        daemon.stop();
    }
}

#[test]
fn who_comes_back_for_events_that_were_not_kept_is_told_to_fetch_the_result() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let id = daemon.client().submit(&request());
    let had = events(&daemon.client(), &id, None, usize::MAX);
    daemon.stop();
    // As an older version left it.
    let db = rusqlite::Connection::open(home.path().join("state/queue.db")).unwrap();
    db.execute("UPDATE result SET outline = NULL", []).unwrap();
    drop(db);
    let daemon = home.start();
    let message = "the events of this job were not kept: its result is at /v1/jobs/job_1";
    assert_eq!(
        back(&daemon.client(), &id, &had[30].0),
        format!("event: gone\ndata: {{\"message\":\"{message}\"}}\n\n")
    );
    // Who had nothing learns that it is over.
    assert_eq!(events(&daemon.client(), &id, None, usize::MAX), []);
    assert_eq!(daemon.client().ended(&id)["status"], "completed");
    daemon.stop();
}

#[test]
fn an_id_that_no_event_has_is_refused() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let client = daemon.client();
    let id = client.submit(&request());
    let had = events(&client, &id, None, usize::MAX);
    let (fingerprint, _) = had[0].0.split_once('-').unwrap();
    let path = format!("/v1/jobs/{id}/events");
    let counts = |count: usize| format!("{fingerprint}-{}", vec!["1"; count].join("."));
    let signed = format!("{fingerprint}-+5");
    for bad in ["x", "5.2", &signed, &counts(129)] {
        let refused = client.send("GET", &path, &[("last-event-id", bad)], b"");
        assert_eq!(
            refused.expect(400)["error"]["param"],
            "Last-Event-ID",
            "{bad}"
        );
    }
    // Counts of sequences that the job does not have do not come back.
    let rest = events(&client, &id, Some(&counts(128)), usize::MAX);
    assert!(rest.len() > 50);
    for (id, _) in rest {
        assert!(id.split('.').count() <= 2, "{id}");
    }
    daemon.stop();
}

#[test]
fn a_job_that_fails_ends_its_stream_with_an_error() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let client = daemon.client();
    client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
    let mut long = request();
    long["body"]["prompt"] = "x ".repeat(60).into();
    let id = client.submit(&long);
    daemon.stop();
    home.reconfigure("context_length = 32768", "context_length = 64");
    let daemon = home.start();
    let client = daemon.client();
    let stream = client.stream("GET", &format!("/v1/jobs/{id}/events"), b"");
    client
        .send("POST", "/v1/queue/resume", &[], b"")
        .expect(200);
    let all: Vec<String> = stream.collect();
    let error: Value = serde_json::from_str(&all[0]).unwrap();
    assert_eq!((all.len(), &error["error"]["code"]), (1, &json!("failed")));
    assert_eq!(client.job(&id)["status"], "failed");
    daemon.stop();
}
