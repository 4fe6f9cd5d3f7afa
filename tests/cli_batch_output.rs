//! Where `woollyctl batch run` and `batch fetch` write to, and what they replace.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::support::batch_files::{Files, assert_plain_answers, plain};
use super::support::cli::{WOOLLYCTL, command, ctl, say, say_with_input};
use super::support::daemon::{Home, TINY};
use super::support::fake_daemon::FakeDaemon;

/// `woollyctl` that can write no file beyond some hundred bytes, as on a disk that is full.
fn with_little_room(socket: &Path, arguments: &[&str]) -> Command {
    let limited = "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"";
    let mut command = command("sh", &["-c", limited, WOOLLYCTL]);
    command.arg("--socket").arg(socket).args(arguments);
    command
}

#[test]
fn the_input_is_never_the_output() {
    let daemon = FakeDaemon::start();
    let mut files = Files::new(&daemon, &plain(2));
    let input = files.input.clone();
    let link = input.with_file_name("link");
    let other = input.with_file_name("other");
    symlink(&input, &link).unwrap();
    std::fs::hard_link(&input, &other).unwrap();
    for output in [&input, &link, &other] {
        files.output = output.clone();
        let said = say(files.run(&daemon, &[])).ends_with(2);
        assert!(said.err.contains("is the input"), "{}", said.err);
    }
    files.input = "-".into();
    let mut command = files.run(&daemon, &[]);
    command.stdin(std::fs::File::open(&input).unwrap());
    say(command).ends_with(2);
    assert_eq!(std::fs::read_to_string(&input).unwrap(), plain(2));
    assert!(daemon.jobs().is_empty());
}

#[test]
fn a_name_may_be_as_long_as_the_file_system_allows() {
    let daemon = FakeDaemon::start();
    let mut files = Files::new(&daemon, &plain(2));
    files.output = files.output.with_file_name("o".repeat(255));
    for _ in 0..2 {
        say(files.run(&daemon, &[])).ends_with(0);
        assert_plain_answers(&files.answers(), 2);
    }
}

#[test]
fn only_a_file_is_replaced_and_it_keeps_its_name_and_permissions() {
    let daemon = FakeDaemon::start();
    let mut files = Files::new(&daemon, &plain(2));
    let answers = files.output.clone();
    std::fs::write(&answers, "older").unwrap();
    std::fs::set_permissions(&answers, PermissionsExt::from_mode(0o640)).unwrap();
    files.output = answers.with_file_name("link");
    symlink("out.jsonl", &files.output).unwrap();
    say(files.run(&daemon, &[])).ends_with(0);
    assert_plain_answers(&files.answers(), 2);
    assert!(files.output.is_symlink());
    let mode = std::fs::metadata(&answers).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);

    let pipe = answers.with_file_name("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    files.output = pipe;
    let said = say(files.run(&daemon, &[])).ends_with(2);
    assert!(said.err.contains("is no regular file"), "{}", said.err);
    files.output = answers.with_file_name("fake.sock");
    say(files.run(&daemon, &[])).ends_with(2);
    assert_eq!(daemon.jobs().len(), 2);
}

#[test]
fn a_disk_that_is_full_is_named_and_not_standard_output() {
    let home = Home::new(TINY);
    let daemon = home.start();
    let at = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let lines: String = (0..8)
        .map(|i| {
            let body = serde_json::json!({"prompt": "x", "max_tokens": 2});
            serde_json::json!({"custom_id": format!("r{i}"), "method": "POST", "url": "/v1/completions", "body": body})
                .to_string()
                + "\n"
        })
        .collect();
    std::fs::write(at("in.jsonl"), &lines).unwrap();
    say(ctl(&home.socket(), &["batch", "submit", &at("in.jsonl")])).ends_with(0);
    let out = at("out");
    let fetch = ["batch", "fetch", "batch_1", "-o", &out];
    let said = say(with_little_room(&home.socket(), &fetch)).ends_with(1);
    assert!(
        said.err.contains(&format!("cannot write {out}: ")),
        "{}",
        said.err
    );
    assert!(!Path::new(&out).exists());

    let run = ["batch", "run", "-i", "-", "-o", &out];
    let said = say_with_input(with_little_room(&home.socket(), &run), &lines).ends_with(1);
    let directory = home.path().display();
    let expected = format!("standard input: cannot keep a copy of it in {directory}: ");
    assert!(said.err.contains(&expected), "{}", said.err);
    daemon.stop();
}
