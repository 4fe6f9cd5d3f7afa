//! The two files of `woollyctl batch run`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::cli::ctl;
use super::fake_daemon::{FakeDaemon, beside};

/// Beside the socket of a daemon.
pub struct Files {
    pub input: PathBuf,
    pub output: PathBuf,
}

impl Files {
    pub fn new(daemon: &FakeDaemon, input: &str) -> Self {
        let files = Files {
            input: beside(&daemon.socket, "in"),
            output: beside(&daemon.socket, "out.jsonl"),
        };
        std::fs::write(&files.input, input).unwrap();
        files
    }

    /// The same as a file of this name.
    pub fn named(daemon: &FakeDaemon, name: &str, input: &str) -> Self {
        let mut files = Files::new(daemon, input);
        let named = files.input.with_file_name(name);
        std::fs::rename(&files.input, &named).unwrap();
        files.input = named;
        files
    }

    /// With the answers in the order of the lines.
    pub fn run(&self, daemon: &FakeDaemon, flags: &[&str]) -> Command {
        let mut command = self.run_unordered(daemon, flags);
        command.arg("--ordered");
        command
    }

    pub fn run_unordered(&self, daemon: &FakeDaemon, flags: &[&str]) -> Command {
        let mut command = ctl(&daemon.socket, &["batch", "run"]);
        command
            .arg("-i")
            .arg(&self.input)
            .arg("-o")
            .arg(&self.output)
            .args(flags);
        command
    }

    #[track_caller]
    pub fn answers(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.output).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// A batch file with such prompts.
pub fn requests(prompts: &[&str]) -> String {
    let line = |(index, prompt): (usize, &&str)| {
        let body = json!({"prompt": prompt, "max_tokens": 4});
        json!({"custom_id": format!("id-{index}"), "method": "POST", "url": "/v1/completions", "body": body})
            .to_string()
    };
    prompts
        .iter()
        .enumerate()
        .map(line)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A file of so many prompts.
pub fn plain(count: usize) -> String {
    (0..count)
        .map(|index| format!("prompt {index}\n"))
        .collect()
}

#[track_caller]
pub fn assert_plain_answers(answers: &[Value], count: usize) {
    let texts = answers
        .iter()
        .map(|line| line["response"]["body"]["choices"][0]["text"].as_str());
    let expected: Vec<String> = (0..count)
        .map(|index| format!("you said prompt {index} — so"))
        .collect();
    assert_eq!(
        texts.collect::<Vec<_>>(),
        expected
            .iter()
            .map(|text| Some(text.as_str()))
            .collect::<Vec<_>>()
    );
}
