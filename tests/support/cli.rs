//! Running the programs, and reading what they say.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

pub const WOOLLYCTL: &str = env!("CARGO_BIN_EXE_woollyctl");
pub const WOOLLY: &str = env!("CARGO_BIN_EXE_woolly");
const WOOLLYD: &str = env!("CARGO_BIN_EXE_woollyd");

/// A program with pipes on all sides and nothing from the caller's environment that could lead it astray.
pub fn command(program: &str, arguments: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_remove("WOOLLY_HOST")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// `woollyctl` with its socket.
pub fn ctl(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = command(WOOLLYCTL, arguments);
    command.arg("--socket").arg(socket);
    command
}

/// What a finished program said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Every line of standard output as JSON.
    #[track_caller]
    pub fn json_lines(&self) -> Vec<Value> {
        let parse =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        self.out.lines().map(parse).collect()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub fn say(mut command: Command) -> Said {
    command.output().unwrap().into()
}

/// Runs a program with text on its standard input.
pub fn say_with_input(mut command: Command, input: &str) -> Said {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap().into()
}

pub fn interrupt(child: &Child) {
    let process = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
}

/// A real daemon with a tiny synthetic model, in a directory of its own.
pub struct Woollyd {
    pub socket: PathBuf,
    child: Child,
    directory: tempfile::TempDir,
}

impl Woollyd {
    /// Returns when the daemon serves jobs: it says so on a notify socket, as to systemd.
    pub fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = "[daemon]\nsocket = \"woolly.sock\"\nstate_dir = \"state\"\n\
                      [model]\nsource = \"synthetic\"\n[synthetic]\npreset = \"tiny\"\n\
                      [workers]\nthreads_per_worker = 1\nkv_bytes = \"16MiB\"\n";
        std::fs::write(directory.path().join("woolly.toml"), config).unwrap();
        let child = launch(directory.path());
        Woollyd {
            socket: directory.path().join("woolly.sock"),
            child,
            directory,
        }
    }

    /// `kill -9`, then a new daemon on the same state.
    pub fn crash_and_restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = launch(self.directory.path());
    }
}

impl Drop for Woollyd {
    fn drop(&mut self) {
        // It may be gone already; the directory goes with the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn launch(directory: &Path) -> Child {
    let notify = directory.join("notify.sock");
    let _ = std::fs::remove_file(&notify);
    let listener = UnixDatagram::bind(&notify).unwrap();
    let log = std::fs::File::create(directory.join("log")).unwrap();
    let mut child = Command::new(WOOLLYD)
        .arg("--config")
        .arg(directory.join("woolly.toml"))
        .env("NOTIFY_SOCKET", &notify)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    // A daemon that cannot start never says anything: its end is told by a thread, through the same socket.
    let pid = child.id();
    let watcher = UnixDatagram::unbound().unwrap();
    let address = notify.clone();
    let pidfd = rustix::process::pidfd_open(
        rustix::process::Pid::from_child(&child),
        rustix::process::PidfdFlags::empty(),
    )
    .unwrap();
    std::thread::spawn(move || {
        let status = rustix::process::waitid(
            rustix::process::WaitId::PidFd(std::os::fd::AsFd::as_fd(&pidfd)),
            rustix::process::WaitIdOptions::EXITED | rustix::process::WaitIdOptions::NOWAIT,
        );
        let _ = status;
        // Nobody listens any more when the daemon did start: that is the usual case.
        let _ = watcher.send_to(b"EXITED", address);
    });
    let mut message = [0; 4096];
    loop {
        let length = listener.recv(&mut message).unwrap();
        let text = String::from_utf8_lossy(&message[..length]).into_owned();
        if text.lines().any(|line| line == "READY=1") {
            return child;
        }
        if text == "EXITED" {
            child.wait().unwrap();
            let log = std::fs::read_to_string(directory.join("log")).unwrap();
            panic!("woollyd (process {pid}) did not start:\n{log}");
        }
    }
}
