//! Files that are not taken in, which is told once, and files that are although not all of their lines are right.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;

fn chat_line(custom_id: &str, prompt: &str) -> String {
    let body = json!({"messages": [{"role": "user", "content": prompt}], "max_tokens": 4});
    let line = json!({"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body});
    format!("{line}\n")
}

#[test]
fn a_bad_or_long_first_line_hides_no_endpoint() {
    let (home, spool) = home();
    let daemon = home.start();
    let bad = json!({
        "custom_id": "bad", "method": "POST", "url": "/v1/chat/completions", "body": {"stream": true}
    });
    let bad = format!("{bad}\n");
    // Longer than any chunk of the copy.
    let long = chat_line("long", &"word ".repeat(600_000));
    for (name, first) in [("bad", bad), ("long", long)] {
        let text = first + &chat_line("good", "Hello");
        drop_file(&home, &spool, &format!("{name}.jsonl"), &text);
        let done = done(&spool, name);
        assert_eq!(done["status"], "completed", "{done}");
        let counts = json!({"total": 2, "completed": 1, "failed": 1});
        assert_eq!(done["request_counts"], counts, "{name}");
    }
    for batch in batches(&daemon.client()) {
        assert_eq!(batch["endpoint"], "/v1/chat/completions");
    }
    daemon.stop();
}

#[test]
fn a_file_is_not_larger_than_an_uploaded_one() {
    let (home, spool) = home_with("[api]\nmax_file_bytes = 1000\n");
    let daemon = home.start();
    let text = lines(2);
    let fill = |bytes: usize| format!("{text}{}", " ".repeat(bytes - text.len()));
    drop_file(&home, &spool, "large.jsonl", &fill(1_001));
    drop_file(&home, &spool, "most.jsonl", &fill(1_000));
    assert_eq!(done(&spool, "most")["status"], "completed");
    assert_eq!(batches(&daemon.client()).len(), 1);
    let log = daemon.stop();
    let sentence = "large.jsonl: has more than 1000 bytes ([api] max_file_bytes)";
    assert_eq!(told(&log, sentence), 1, "{log}");
}

#[test]
fn every_file_that_is_not_taken_in_is_told_once_by_its_name() {
    let (home, spool) = home_with("[queue]\nmax_bytes = \"4KiB\"\n");
    let daemon = home.start();
    let longest = "n".repeat(237);
    drop_file(&home, &spool, &format!("{longest}n.jsonl"), &lines(1));
    for name in ["x.output.jsonl", "x.errors.jsonl"] {
        drop_file(&home, &spool, name, &lines(1));
    }
    drop_file(&home, &spool, "large.jsonl", &lines(100));
    for name in [&b"\xff.jsonl"[..], b"new\nline.jsonl"] {
        symlink("/etc/passwd", spool.join(OsStr::from_bytes(name))).unwrap();
    }
    drop_file(&home, &spool, &format!("{longest}.jsonl"), &lines(1));
    assert_eq!(done(&spool, &longest)["status"], "completed");
    drop_file(&home, &spool, "z.jsonl", &lines(1));
    assert_eq!(done(&spool, "z")["status"], "completed");
    assert_eq!(batches(&daemon.client()).len(), 2);
    let log = daemon.stop();
    let result = "is not taken in: it has the name of a result, and is that of no batch";
    for sentence in [
        "nn.jsonl: has too long a name: those of its results have no room",
        &format!("x.output.jsonl: {result}"),
        &format!("x.errors.jsonl: {result}"),
        "large.jsonl: the request or file is too large for the queue",
        r"\xff.jsonl: is not taken in: its name is not UTF-8 text",
        r"new\nline.jsonl: cannot be opened",
    ] {
        assert_eq!(told(&log, sentence), 1, "{sentence}: {log}");
    }
    // The results of these batches are results.
    assert_eq!(told(&log, "z.output.jsonl: "), 0, "{log}");
    assert_eq!(told(&log, result), 2, "{log}");
}
