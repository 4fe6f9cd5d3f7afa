//! What `woollyctl batch run` makes of its input: lines, quotes, formats, standard input, changes.

use std::fs::OpenOptions;
use std::io::Write;

use super::support::batch_files::{Files, assert_plain_answers, plain};
use super::support::cli::{Said, say, say_with_input};
use super::support::fake_daemon::{FakeDaemon, FakeJob, Seen};

#[track_caller]
fn refused(daemon: &FakeDaemon, files: &Files, flags: &[&str], code: i32) -> String {
    let said = say(files.run(daemon, flags)).ends_with(code);
    assert!(daemon.jobs().is_empty());
    assert!(!files.output.exists());
    said.err
}

fn ids(files: &Files) -> Vec<String> {
    let id = |line: &serde_json::Value| line["custom_id"].as_str().unwrap().to_owned();
    files.answers().iter().map(id).collect()
}

#[test]
fn a_quote_that_is_never_closed_swallows_no_rows() {
    let daemon = FakeDaemon::start();
    let text = "id,text\n1,\"never closed\n2,b\n3,c\n";
    let files = Files::named(&daemon, "nc.csv", text);
    let said = refused(
        &daemon,
        &files,
        &["--column", "text", "--id-column", "id"],
        1,
    );
    let expected = "nc.csv: line 2: a quote is opened in this row and never closed";
    assert!(said.contains(expected), "{said}");
    std::fs::write(&files.input, "\"text\n1\n").unwrap();
    let said = refused(&daemon, &files, &[], 1);
    assert!(said.contains("nc.csv: line 1: a quote is opened"), "{said}");
}

#[test]
fn rows_are_named_by_their_lines_whatever_breaks_them() {
    let daemon = FakeDaemon::start();
    let text = "text\na\r\na\ra\r\n\r\n\n\"a\nb\"\na";
    let files = Files::named(&daemon, "m.csv", text);
    say(files.run(&daemon, &[])).ends_with(0);
    assert_eq!(
        ids(&files),
        ["line-2", "line-3", "line-4", "line-7", "line-9"]
    );
    assert_eq!(daemon.jobs().len(), 5, "one job for each row");
}

#[test]
fn a_row_of_another_length_is_counted_in_good_english() {
    let daemon = FakeDaemon::start();
    let files = Files::named(&daemon, "l.csv", "a,b\n1,2\n3\n");
    let said = refused(&daemon, &files, &["--column", "a"], 1);
    let expected = "l.csv: line 3: it has 1 field, and the header has 2";
    assert!(said.contains(expected), "{said}");
}

#[test]
fn a_broken_first_line_makes_no_prompts_of_requests() {
    let daemon = FakeDaemon::start();
    for name in ["requests.jsonl", "requests.ndjson", "requests"] {
        let files = Files::named(&daemon, name, "{\"custom_id\": \"a\",\n");
        let said = refused(&daemon, &files, &[], 1);
        assert!(said.contains(&format!("{name}: line 1: ")), "{said}");
        assert!(said.contains("JSON"), "{said}");
    }
    let files = Files::named(&daemon, "plain", "{curly\n");
    say(files.run(&daemon, &["--format", "plain"])).ends_with(0);
    assert_eq!(daemon.jobs()[0].body["prompt"], "{curly");
}

#[test]
fn numbers_of_any_length_are_taken_as_they_are_written() {
    let daemon = FakeDaemon::start();
    let text = "{\"id\": 123456789012345678901234567890, \"x\": 1.10}
{\"id\": 123456789012345678901234567891, \"x\": -0}
{\"id\": true, \"x\": \"a\\u0062\"}
";
    let files = Files::named(&daemon, "n.jsonl", text);
    say(files.run(&daemon, &["--column", "x", "--id-column", "id"])).ends_with(0);
    let expected = [
        "123456789012345678901234567890",
        "123456789012345678901234567891",
        "true",
    ];
    assert_eq!(ids(&files), expected);
    let prompt = |job: &FakeJob| job.body["prompt"].as_str().unwrap().to_owned();
    let mut prompts: Vec<String> = daemon.jobs().iter().map(prompt).collect();
    prompts.sort();
    assert_eq!(prompts, ["-0", "1.10", "ab"]);
}

#[test]
fn flags_that_do_not_fit_the_file_are_mistakes_of_the_command_line() {
    let daemon = FakeDaemon::start();
    let table = Files::named(&daemon, "t.csv", "x,y\n1,2\n");
    refused(&daemon, &table, &[], 2);
    refused(&daemon, &table, &["--column", "z"], 2);
    let prompts = Files::named(&daemon, "p.txt", "one\n");
    let flags = ["--format", "plain", "--id-column", "x"];
    refused(&daemon, &prompts, &flags, 2);
    let requests = super::support::batch_files::requests(&["one"]);
    let requests = Files::named(&daemon, "r.jsonl", &requests);
    refused(&daemon, &requests, &["--max-tokens", "3"], 2);
    let said = refused(&daemon, &prompts, &["--deadline", "1d"], 2);
    assert!(said.contains("a time from now"), "{said}");
}

#[test]
fn a_dash_is_standard_input_and_no_output() {
    let daemon = FakeDaemon::start();
    let mut files = Files::new(&daemon, "");
    files.input = "-".into();
    say_with_input(files.run(&daemon, &[]), &plain(3)).ends_with(0);
    assert_plain_answers(&files.answers(), 3);

    let said = say_with_input(files.run(&daemon, &["--format", "jsonl"]), "x\n").ends_with(1);
    let expected = "standard input: line 1: it is no JSON object";
    assert!(said.err.contains(expected), "{}", said.err);

    files.output = "-".into();
    let said = say_with_input(files.run(&daemon, &[]), &plain(3)).ends_with(2);
    assert!(said.err.contains("- is no name"), "{}", said.err);
    assert_eq!(daemon.jobs().len(), 3);
}

#[test]
fn an_input_that_changes_ends_the_run_while_it_waits() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let files = Files::new(&daemon, &plain(2));
    let child = files.run(&daemon, &[]).spawn().unwrap();
    while !matches!(daemon.seen.recv().unwrap(), Seen::Watched(_)) {}
    let mut input = OpenOptions::new().append(true).open(&files.input).unwrap();
    input.write_all(b"one more\n").unwrap();
    let said = Said::from(child.wait_with_output().unwrap()).ends_with(1);
    assert!(
        said.err.contains("it changed while it was read"),
        "{}",
        said.err
    );
    assert!(!files.output.exists());
    assert!(daemon.jobs().iter().all(|job| job.status == "queued"));
}
