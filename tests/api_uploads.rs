//! Uploads of clients that mean harm, or go: nothing grows without bound, and nothing stays that nobody knows.

use std::collections::HashSet;
use std::fs::ReadDir;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::api_batches::upload_as;
use crate::support::daemon::{Home, TINY};
use crate::support::http::{Client, multipart};

const KIND: (&str, &str) = ("content-type", "multipart/form-data; boundary=b");
const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");
/// The beginning of a form up to the content of its file.
const FILE: &str =
    "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"in.jsonl\"\r\n\r\n";

fn files(home: &Home) -> ReadDir {
    std::fs::read_dir(home.path().join("state/files")).unwrap()
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// Status and error of the answer, which ends the connection.
fn refused(mut connection: &UnixStream) -> (String, Value) {
    let mut answer = Vec::new();
    // What was not read of the request may break the connection behind the answer.
    let _ = connection.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    let body: Value = serde_json::from_str(body).unwrap();
    (status, body["error"].clone())
}

/// Sends `first` and then `more` without end; how many bytes the daemon took, and its answer.
fn flood(client: &Client, first: &str, more: &[u8]) -> (usize, String, Value) {
    let mut connection = client.begin("POST", "/v1/files", &[KIND, CHUNKED], b"");
    connection.write_all(&chunk(first.as_bytes())).unwrap();
    let (more, mut sent) = (chunk(more), 0);
    while sent < 64 << 20 && connection.write_all(&more).is_ok() {
        sent += more.len();
    }
    let (status, error) = refused(&connection);
    (sent, status, error)
}

#[test]
fn a_form_without_end_is_refused_early() {
    let home = Home::new(&format!("{TINY}[api]\nmax_file_bytes = \"1MiB\"\n"));
    let daemon = home.start();
    let client = daemon.client();
    let header = "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"";
    let behind = format!("{FILE}x\r\n--b\r\n");
    for first in ["x", "--b\r\nx-long: ", header, &behind] {
        let (sent, status, error) = flood(&client, first, &[b'x'; 8 << 10]);
        assert!(sent < 8 << 20, "{first}: {sent}");
        assert_eq!(status, "400", "{first}: {error}");
        assert_eq!(
            error["message"],
            "a form may have 65536 bytes beside the content of file"
        );
    }
    // The content has a limit of its own.
    let (sent, status, error) = flood(&client, FILE, &[b'x'; 8 << 10]);
    assert!(sent < 8 << 20, "{sent}");
    assert_eq!(
        (status.as_str(), &error["code"]),
        ("413", &"request_too_large".into())
    );
    assert_eq!(files(&home).count(), 0);
    daemon.stop();
}

#[test]
fn a_large_file_arrives_as_it_was_sent() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    // Longer than what is written at once, with what looks like a boundary inside.
    let line = b"{\"custom_id\": \"\r\n--woolly-test-boundar\"}\r\n";
    let content: Vec<u8> = line.iter().copied().cycle().take(5_000_001).collect();
    let file = upload_as(&client, "batch", &content).expect(200);
    assert_eq!(file["bytes"], content.len());
    let path = format!("/v1/files/{}/content", file["id"].as_str().unwrap());
    let response = client.get(&path);
    assert!(response.body == content);
    daemon.stop();
}

#[test]
fn a_second_file_is_refused() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let body = format!("{FILE}first\r\n{FILE}second\r\n--b--\r\n");
    let refused = client.send("POST", "/v1/files", &[KIND], body.as_bytes());
    let error = refused.expect(400)["error"].clone();
    assert_eq!(
        (&error["param"], &error["message"]),
        (&"file".into(), &"file may be given once".into())
    );
    daemon.stop();
}

#[test]
fn what_does_not_fit_is_refused_before_it_is_sent() {
    let limits = "[queue]\nmax_bytes = \"2MiB\"\n[api]\nmax_file_bytes = \"3MiB\"\n";
    let home = Home::new(&format!("{TINY}{limits}"));
    let daemon = home.start();
    let client = daemon.client();
    let announced = |bytes: u64| {
        let length = bytes.to_string();
        let headers = [KIND, ("content-length", &*length)];
        let connection = client.begin("POST", "/v1/files", &headers, b"");
        refused(&connection)
    };
    let (status, error) = announced(4_000_000);
    assert_eq!(
        (status.as_str(), error["message"].as_str()),
        ("413", Some("the request body is larger than 3145728 bytes"))
    );
    let (status, error) = announced(2_900_000);
    assert_eq!(
        (status.as_str(), &error["code"]),
        ("413", &"request_too_large".into())
    );
    upload_as(&client, "batch", &[b'x'; 1_100_000]).expect(200);
    let (status, error) = announced(1_900_000);
    assert_eq!(
        (status.as_str(), &error["code"]),
        ("429", &"queue_full".into())
    );
    // Without an announcement it shows on the way.
    let mut connection = client.begin("POST", "/v1/files", &[KIND, CHUNKED], b"");
    connection.write_all(&chunk(FILE.as_bytes())).unwrap();
    let more = chunk(&[b'x'; 100_000]);
    for _ in 0..30 {
        let _ = connection.write_all(&more);
    }
    let (status, _) = refused(&connection);
    assert_eq!(status, "429");
    assert_eq!(files(&home).count(), 1);
    daemon.stop();
}

#[test]
fn uploads_that_are_on_their_way_count_against_each_other() {
    let home = Home::new(&format!("{TINY}[queue]\nmax_bytes_per_user = \"3MiB\"\n"));
    let daemon = home.start();
    let client = daemon.client();
    let mut first = client.begin("POST", "/v1/files", &[KIND, CHUNKED], b"");
    first.write_all(&chunk(FILE.as_bytes())).unwrap();
    first.write_all(&chunk(&[b'x'; 2_500_000])).unwrap();
    // Two pieces are written whole, and counted before that.
    let written = || files(&home).map(|entry| entry.unwrap().metadata().unwrap().len());
    while written().sum::<u64>() < 2 << 20 {
        std::thread::yield_now();
    }
    let refused = upload_as(&client, "batch", &[b'y'; 2_000_000]);
    assert_eq!(refused.expect(429)["error"]["code"], "queue_full");
    first.write_all(&chunk(b"\r\n--b\r\ncontent-disposition: form-data; name=\"purpose\"\r\n\r\nbatch\r\n--b--\r\n")).unwrap();
    first.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    // What was refused, or broke off, counts no more.
    upload_as(&client, "batch", &[b'y'; 600_000]).expect(200);
    daemon.stop();
}

#[test]
fn a_client_that_goes_leaves_a_file_that_is_known_or_none() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let client = daemon.client();
    let (kind, body) = multipart("batch", &[b'x'; 3_000]);
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let upload = client.begin("POST", "/v1/files", &[("content-type", &kind)], &body);
        // From here on it is written, finished and made known.
        while !files(&home).any(|entry| seen.insert(entry.unwrap().file_name())) {
            std::thread::yield_now();
        }
        drop(upload);
    }
    daemon.stop();
    let problems = woolly::queue::check(&home.path().join("state")).unwrap();
    assert_eq!(problems, Vec::<String>::new());
}
