//! `woollyctl batch submit`, `status`, `fetch` and `cancel` against a real daemon.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use serde_json::{Value, json};

use crate::support::cli::{ctl, say};
use crate::support::daemon::{Home, LONG, TINY};

fn line(id: &str, body: Value) -> String {
    json!({"custom_id": id, "method": "POST", "url": "/v1/completions", "body": body}).to_string()
        + "\n"
}

#[test]
fn a_file_goes_to_the_daemon_and_its_answers_come_back() {
    let home = Home::new(LONG);
    let daemon = home.start();
    let at = |name: &str| home.path().join(name);
    let run = |arguments: &[&str]| say(ctl(&home.socket(), arguments));
    let body = |prompt: &str| json!({"prompt": prompt, "max_tokens": 3, "ignore_eos": true});
    let good: String = (0..20).map(|i| line(&format!("r{i}"), body("x"))).collect();
    std::fs::write(at("good.jsonl"), &good).unwrap();
    std::fs::write(
        at("mixed.jsonl"),
        good.clone() + &line("bad", json!({"prompt": 5})),
    )
    .unwrap();
    std::fs::write(
        at("twice.jsonl"),
        line("a", body("x")) + &line("a", body("y")),
    )
    .unwrap();
    let submit = |name: &str, flags: &[&str]| {
        let path = at(name);
        let said = run(&[&["batch", "submit", path.to_str().unwrap()], flags].concat());
        said.ends_with(0).out.trim().to_owned()
    };
    let fetch = |id: &str, code: i32| {
        let (output, errors) = (at(&format!("{id}.out")), at(&format!("{id}.err")));
        let flags = [
            "--json",
            "-o",
            output.to_str().unwrap(),
            "--errors",
            errors.to_str().unwrap(),
        ];
        let said = run(&[&["batch", "fetch", id], &flags[..]].concat()).ends_with(code);
        let read = |path| {
            std::fs::read_to_string(path)
                .map(|text| text.lines().count())
                .ok()
        };
        (said, read(output), read(errors))
    };

    let id = submit("good.jsonl", &["--window", "1h", "--priority", "-3"]);
    assert_eq!(id, "batch_1");
    let (said, answers, errors) = fetch(&id, 0);
    assert_eq!((answers, errors), (Some(20), None));
    let batch = said.json_lines().remove(0);
    assert_eq!(
        (&batch["status"], &batch["completion_window"]),
        (&json!("completed"), &json!("1h"))
    );

    let mixed = submit("mixed.jsonl", &[]);
    let (said, answers, errors) = fetch(&mixed, 1);
    assert_eq!((answers, errors), (Some(20), Some(1)));
    assert!(said.err.contains("some requests failed"), "{}", said.err);

    let twice = submit("twice.jsonl", &[]);
    let (said, answers, _) = fetch(&twice, 1);
    assert_eq!(answers, None);
    assert!(said.err.contains("line 2: the custom_id "), "{}", said.err);

    let endless = line(
        "endless",
        json!({"prompt": "x", "max_tokens": 30000, "ignore_eos": true}),
    );
    std::fs::write(at("endless.jsonl"), endless).unwrap();
    let endless = submit("endless.jsonl", &[]);
    assert!(
        run(&["batch", "cancel", &endless])
            .ends_with(0)
            .out
            .starts_with("batch_4 cancel")
    );
    let (_, answers, errors) = fetch(&endless, 1);
    assert_eq!(answers, None);
    assert!(errors.is_none_or(|lines| lines == 1));
    let all = run(&["batch", "status"]).ends_with(0).out;
    assert_eq!(all.lines().count(), 4);
    assert!(
        all.ends_with("batch_1 completed: 20 of 20 completed, 0 failed\n"),
        "{all}"
    );
    let one = run(&["batch", "status", "batch_1", "--json"])
        .ends_with(0)
        .json_lines()
        .remove(0);
    assert_eq!(one["request_counts"]["completed"], 20);

    run(&["batch", "status", "../jobs"]).ends_with(2);
    run(&["batch", "status", "batch_99"]).ends_with(4);
    run(&["batch", "submit", "/nonexistent"]).ends_with(1);
    daemon.stop();
}

/// Passes requests on to a daemon, and cuts the connection of the first one that begins so, instead of its answer.
fn cut_first(listener: &UnixListener, daemon: &Path, begins: &str) {
    let mut is_cut = false;
    for client in listener.incoming() {
        let mut client = client.unwrap();
        let mut first = vec![0; 4096];
        let count = client.read(&mut first).unwrap();
        if count == 0 {
            return;
        }
        let mut server = UnixStream::connect(daemon).unwrap();
        server.write_all(&first[..count]).unwrap();
        if !is_cut && first.starts_with(begins.as_bytes()) {
            // The daemon has done it when it begins to answer.
            assert_eq!(server.read(&mut first[..1]).unwrap(), 1);
            is_cut = true;
            continue;
        }
        let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        let sent = std::thread::spawn(move || {
            std::io::copy(&mut from, &mut to)?;
            to.shutdown(Shutdown::Write)
        });
        std::io::copy(&mut server, &mut client).unwrap();
        // Whoever asked has its answer, and may be gone.
        drop(sent.join().unwrap());
    }
}

#[test]
fn a_connection_that_is_cut_makes_one_batch() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let (file, relay) = (home.path().join("in.jsonl"), home.path().join("relay.sock"));
    std::fs::write(&file, line("a", json!({"prompt": "x", "max_tokens": 1}))).unwrap();
    let listener = UnixListener::bind(&relay).unwrap();
    let said = std::thread::scope(|scope| {
        let socket = home.socket();
        scope.spawn(move || cut_first(&listener, &socket, "POST /v1/batches "));
        let said = say(ctl(&relay, &["batch", "submit", file.to_str().unwrap()]));
        drop(UnixStream::connect(&relay).unwrap());
        said
    });
    assert_eq!(said.ends_with(0).out, "batch_1\n");
    let client = daemon.client();
    let count = |path: &str| {
        client.get(path).expect(200)["data"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|it| it["purpose"] != "batch_output")
            .count()
    };
    assert_eq!((count("/v1/batches"), count("/v1/files")), (1, 1));
    daemon.stop();
}
