//! `woollyctl batch run` where the daemon says no, for now or for good, and lines that run once more.

use std::io::Read;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::support::batch_files::{Files, assert_plain_answers, plain, requests};
use super::support::cli::{Said, command, ctl, say, signal, unread};
use super::support::daemon::{Home, TINY};
use super::support::fake_daemon::{FakeDaemon, Seen};

#[test]
fn a_caller_who_is_not_welcome_gets_no_answers() {
    for status in [401, 403, 404] {
        let daemon = FakeDaemon::start();
        daemon.refuse(status);
        let files = Files::new(&daemon, &plain(3));
        std::fs::write(&files.output, "older").unwrap();
        let said = say(files.run(&daemon, &[])).ends_with(4);
        assert!(said.err.contains("you are not welcome"), "{}", said.err);
        assert!(!said.err.contains("goes on"), "{}", said.err);
        assert_eq!(std::fs::read_to_string(&files.output).unwrap(), "older");
    }
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_so() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let files = Files::new(&daemon, &plain(40));
    let run = files.run(&daemon, &["--outstanding", "2"]);
    // As nohup starts a program, and as a script starts one in its background.
    let mut ignoring = command("sh", &["-c", "trap '' HUP INT; exec \"$0\" \"$@\""]);
    ignoring.arg(run.get_program()).args(run.get_args());
    let child = ignoring.spawn().unwrap();
    while !matches!(daemon.seen.recv().unwrap(), Seen::Watched(_)) {}
    signal(&child, Signal::HUP);
    signal(&child, Signal::INT);
    daemon.hold(false);
    Said::from(child.wait_with_output().unwrap()).ends_with(0);
    assert_plain_answers(&files.answers(), 40);
}

#[test]
fn nobody_reads_the_summary_and_the_exit_code_is_the_same() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, &requests(&["one", "fail me"]));
    // One after the other, so that the first job is the one that is answered.
    let run = files.run(&daemon, &["--json", "--outstanding", "1"]);
    say(unread(run)).ends_with(1);
    assert_eq!(files.answers().len(), 2);
    let wait = ["wait", "0", "1"];
    say(unread(ctl(&daemon.socket, &wait))).ends_with(1);
    say(unread(ctl(
        &daemon.socket,
        &[&wait[..], &["--json"]].concat(),
    )))
    .ends_with(1);
    say(unread(ctl(&daemon.socket, &["wait", "0"]))).ends_with(0);
    // All that was asked for is done.
    daemon.hold(true);
    for prompt in ["a", "b"] {
        say(ctl(&daemon.socket, &["submit", "--detach", prompt])).ends_with(0);
    }
    say(unread(ctl(&daemon.socket, &["cancel", "2", "3"]))).ends_with(0);
    assert!(
        daemon.jobs()[2..]
            .iter()
            .all(|job| job.status == "cancelled")
    );
    daemon.healths([(503, json!({"status": "warming"}))]);
    say(unread(ctl(&daemon.socket, &["health"]))).ends_with(1);
}

#[test]
fn more_lines_than_files_may_be_open_are_waited_for_where_the_limit_can_be_raised() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let files = Files::new(&daemon, &plain(60));
    let run = files.run(&daemon, &["--outstanding", "50"]);
    let limited = |limit: &str| {
        let line = format!("ulimit {limit} 32; exec \"$0\" \"$@\"");
        let mut limited = command("sh", &["-c", &line]);
        limited.arg(run.get_program()).args(run.get_args());
        limited
    };
    let said = say(limited("-n")).ends_with(1);
    assert!(said.err.contains("too many files are open"), "{}", said.err);
    assert!(!said.err.contains("trying again"), "{}", said.err);

    while daemon.seen.try_recv().is_ok() {}
    let child = limited("-S -n").spawn().unwrap();
    let mut watched = 0;
    while watched < 50 {
        watched += usize::from(matches!(daemon.seen.recv().unwrap(), Seen::Watched(_)));
    }
    daemon.hold(false);
    Said::from(child.wait_with_output().unwrap()).ends_with(0);
    assert_plain_answers(&files.answers(), 60);
}

#[test]
fn a_full_queue_is_told_once_and_asked_again_when_a_line_has_ended() {
    let daemon = FakeDaemon::start();
    daemon.room(1);
    let files = Files::new(&daemon, &plain(20));
    let child = files.run(&daemon, &["--json"]).spawn().unwrap();
    let mut taken = 0;
    while taken < 20 {
        taken += usize::from(daemon.seen.recv().unwrap() == Seen::Submitted { new: true });
    }
    // Nobody is left to be refused because of the last one.
    daemon.hold(false);
    let said = Said::from(child.wait_with_output().unwrap()).ends_with(0);
    assert_plain_answers(&files.answers(), 20);
    let told = said.err.matches("the queue is full; waiting").count();
    assert_eq!(told, 1, "{}", said.err);
    // Asked every half second and no earlier, 19 lines take more than 9.
    let seconds = said.json_lines()[0]["seconds"].as_f64().unwrap();
    assert!(seconds < 6.0, "{seconds}");
}

#[test]
fn a_line_that_is_too_large_is_answered_so() {
    let home = Home::new(&format!("{TINY}[api]\nmax_body_bytes = \"64KiB\"\n"));
    let daemon = home.start();
    let at = |name: &str| home.path().join(name);
    let long = "x".repeat(4 << 20);
    std::fs::write(at("in.jsonl"), requests(&["one", &long, "two"])).unwrap();
    let (input, output) = (at("in.jsonl"), at("out"));
    let files = [
        "-i",
        input.to_str().unwrap(),
        "-o",
        output.to_str().unwrap(),
        "--ordered",
    ];
    let arguments = [&["batch", "run"], &files[..]].concat();
    let said = say(ctl(&home.socket(), &arguments)).ends_with(1);
    assert!(
        said.err.contains("1 of 3 lines have no answer"),
        "{}",
        said.err
    );
    let text = std::fs::read_to_string(&output).unwrap();
    let status = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["response"]["status_code"].as_u64().unwrap()
    };
    assert_eq!(
        text.lines().map(status).collect::<Vec<_>>(),
        [200, 413, 200]
    );
    daemon.stop();
}

#[test]
fn lines_that_failed_run_again_when_they_are_asked_for() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, &requests(&["one", "fail me", "two"]));
    say(files.run(&daemon, &[])).ends_with(1);
    let said = say(files.run(&daemon, &[])).ends_with(1);
    let counts = "2 lines completed (2 answered earlier), 1 failed (1 earlier)";
    assert!(said.err.contains(counts), "{}", said.err);
    assert!(said.err.contains("--retry-failed"), "{}", said.err);
    assert_eq!(daemon.jobs().len(), 3);

    // Broken off, the second attempt is found again.
    daemon.mend();
    daemon.hold(true);
    let watched = || {
        let child = files.run(&daemon, &["--retry-failed", "--json"]).spawn();
        while daemon.seen.recv().unwrap() != Seen::Watched(3) {}
        child.unwrap()
    };
    let mut child = watched();
    child.kill().unwrap();
    child.wait().unwrap();
    let child = watched();
    daemon.hold(false);
    let said = Said::from(child.wait_with_output().unwrap()).ends_with(0);
    let summary = said.json_lines().remove(0);
    assert_eq!(
        (&summary["completed"], &summary["answered_earlier"]),
        (&json!(3), &json!(2))
    );
    let jobs = daemon.jobs();
    assert_eq!(jobs.len(), 4);
    assert_eq!(jobs[3].body["prompt"], "fail me");
    assert_eq!(files.answers()[1]["custom_id"], "id-1");
    assert_eq!(files.answers()[1]["response"]["status_code"], 200);

    say(files.run(&daemon, &["--retry-failed"])).ends_with(0);
    assert_eq!(
        daemon.jobs().len(),
        4,
        "what is answered is not computed again"
    );
}

#[test]
fn a_line_that_fails_twice_and_one_that_was_cancelled_run_a_third_time() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, &requests(&["fail me"]));
    say(files.run(&daemon, &[])).ends_with(1);
    daemon.hold(true);
    let child = files.run(&daemon, &["--retry-failed"]).spawn().unwrap();
    while daemon.seen.recv().unwrap() != Seen::Watched(1) {}
    say(ctl(&daemon.socket, &["cancel", "job_1"])).ends_with(0);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(files.answers()[0]["error"]["code"], "job_cancelled");
    daemon.mend();
    daemon.hold(false);
    say(files.run(&daemon, &["--retry-failed"])).ends_with(0);
    assert_eq!(daemon.jobs().len(), 3);
}

#[test]
fn when_lines_run_and_before_whom_is_said_for_all_of_them() {
    let daemon = FakeDaemon::start();
    let files = Files::new(&daemon, &requests(&["one", "two"]));
    let times = [
        "--not-before",
        "@2000000000",
        "--deadline",
        "@2000000100",
        "--refuse-late",
    ];
    let flags = [&["--priority", "-3", "--reuse"], &times[..]].concat();
    say(files.run(&daemon, &flags)).ends_with(0);
    say(files.run(&daemon, &flags)).ends_with(0);
    let jobs = daemon.jobs();
    assert_eq!(jobs.len(), 2, "the same command finds the same jobs");
    for job in &jobs {
        let request = &job.request;
        assert_eq!(request["priority"], -3);
        assert_eq!(request["not_before"], 2_000_000_000);
        assert_eq!(request["deadline"], 2_000_000_100);
        assert_eq!(request["refuse_late"], true);
        assert_eq!(job.body["reuse"], true);
    }
    say(files.run(&daemon, &["--priority", "-2"])).ends_with(0);
    assert_eq!(daemon.jobs().len(), 4, "another request is another job");
}

#[test]
fn at_a_terminal_the_bar_is_there_before_the_first_answer() {
    let daemon = FakeDaemon::start();
    daemon.hold(true);
    let files = Files::new(&daemon, &plain(3));
    let run = files.run(&daemon, &[]);
    let words = std::iter::once(run.get_program()).chain(run.get_args());
    let line: Vec<String> = words.map(|word| format!("'{}'", word.display())).collect();
    // A program with a terminal on all sides.
    let mut terminal = command("script", &["-qec", &line.join(" "), "/dev/null"]);
    terminal.env("TERM", "xterm").stderr(Stdio::null());
    let mut child = terminal.spawn().unwrap();
    let mut shown = Vec::new();
    let mut stdout = child.stdout.take().unwrap();
    while !String::from_utf8_lossy(&shown).contains("0 of 3 lines") {
        let mut piece = [0; 512];
        let count = stdout.read(&mut piece).unwrap();
        assert!(count > 0, "{}", String::from_utf8_lossy(&shown));
        shown.extend_from_slice(&piece[..count]);
    }
    daemon.hold(false);
    stdout.read_to_end(&mut shown).unwrap();
    assert!(child.wait().unwrap().success());
    assert_plain_answers(&files.answers(), 3);
}
