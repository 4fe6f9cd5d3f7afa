//! Programs whose system calls fail on purpose.

use std::path::Path;
use std::process::Command;

use crate::support::cli::{Said, WOOLLYCTL, command, say};

use super::{Scale, scale};

/// What a traced program said, and whether anything was injected.
pub struct Traced {
    pub said: Said,
    /// The traced calls that were tampered with, as strace prints them.
    pub injected: Vec<String>,
}

/// Whether strace can be used here. Where figures are asked for, it must be.
pub fn is_there() -> bool {
    let runs = Command::new("strace")
        .args(["-qq", "-e", "trace=none", "true"])
        .output();
    let usable = runs.is_ok_and(|output| output.status.success());
    if !usable {
        assert_eq!(
            scale(),
            Scale::Smoke,
            "strace is needed, and it does not run here"
        );
        println!("skipped: strace does not run here");
    }
    usable
}

/// Runs `woollyctl` and does `action` (`error=ENOSPC`, `signal=KILL`) at the `nth` call of `call` in each thread.
pub fn woollyctl(arguments: &[&str], call: &str, action: &str, nth: usize, log: &Path) -> Traced {
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:{action}:when={nth}");
    let log_path = log.to_str().unwrap();
    let options = [
        "-f", "-qq", "-o", log_path, "-e", &trace, "-e", &inject, WOOLLYCTL,
    ];
    let mut strace = command("strace", &[&options, arguments].concat());
    // One thread at work makes the nth call the same call in every run.
    strace.env("RAYON_NUM_THREADS", "1");
    let said = say(strace);
    let text = std::fs::read_to_string(log).unwrap();
    let tampered = |line: &&str| line.contains("INJECTED") || line.contains("killed by SIGKILL");
    Traced {
        said,
        injected: text.lines().filter(tampered).map(str::to_owned).collect(),
    }
}
