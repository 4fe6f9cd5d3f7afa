//! Running the programs, and reading what they say.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::daemon::{Daemon, Home, TINY};

pub const WOOLLYCTL: &str = env!("CARGO_BIN_EXE_woollyctl");
pub const WOOLLY: &str = env!("CARGO_BIN_EXE_woolly");

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
    signal(child, Signal::INT);
}

pub fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// Bytes that a pipe of one page holds.
pub const PIPE: usize = 4096;
/// Enough for the first line of progress, and not for all.
pub const ROOM: usize = 100;

/// A pipe with little room left, which holds a program at its first lines: the reading end, and the writing
/// end.
pub fn full_pipe() -> (File, Stdio) {
    // Not inherited: the program would keep the reading end open itself.
    let flags = rustix::pipe::PipeFlags::CLOEXEC;
    let (reader, writer) = rustix::pipe::pipe_with(flags).unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, PIPE).unwrap();
    rustix::io::write(&writer, &[b' '; PIPE - ROOM]).unwrap();
    (File::from(reader), writer.into())
}

/// A command whose standard output nobody reads any more.
pub fn unread(mut command: Command) -> Command {
    let (_, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    command.stdout(writer);
    command
}

/// A real daemon with a tiny synthetic model, in a directory of its own.
pub struct Woollyd {
    pub socket: PathBuf,
    /// `None` only while it is being restarted.
    daemon: Option<Daemon>,
    home: Home,
}

impl Woollyd {
    /// Returns when the daemon serves jobs.
    pub fn start() -> Self {
        let home = Home::new(TINY);
        Woollyd {
            socket: home.socket(),
            daemon: Some(home.start()),
            home,
        }
    }

    /// `kill -9`, then a new daemon on the same state.
    pub fn crash_and_restart(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.kill();
        }
        self.daemon = Some(self.home.start());
    }
}
