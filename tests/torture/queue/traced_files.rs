//! What a daemon does to its files, as strace saw it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::disk_image::Event;

/// The calls that are traced; others of the daemon change no file.
pub(super) const CALLS: &str = "trace=openat,mkdir,write,pwrite64,ftruncate,fsync,fdatasync,unlink,rename,fallocate,renameat2,linkat";

/// An event below a directory, and when its call began, in seconds since 1970.
#[derive(Debug)]
pub(super) struct Timed {
    pub began: f64,
    pub event: Event,
}

/// Reads the output of `strace -f -ttt -y -xx`.
pub(super) fn read(log: &str, below: &Path) -> Vec<Timed> {
    let mut unfinished: HashMap<&str, (f64, String)> = HashMap::new();
    let mut events = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(' ') else {
            continue;
        };
        let Some((time, call)) = rest.trim_start().split_once(' ') else {
            continue;
        };
        let began: f64 = time.parse().unwrap();
        let (began, call) = if let Some(start) = call.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, (began, start.to_owned()));
            continue;
        } else if let Some(rest) = call.strip_prefix("<... ") {
            let Some((began, start)) = unfinished.remove(thread) else {
                continue;
            };
            let end = rest.split_once("resumed>").map_or("", |(_, end)| end);
            (began, start + end)
        } else {
            (began, call.to_owned())
        };
        if let Some(event) = event(&call).filter(|event| is_below(event, below)) {
            events.push(Timed { began, event });
        }
    }
    events
}

fn is_below(event: &Event, directory: &Path) -> bool {
    let path = match event {
        Event::Create { path, .. } | Event::Write { path, .. } | Event::Truncate { path, .. } => {
            path
        }
        Event::Mkdir(path) | Event::Sync(path) | Event::Unlink(path) => path,
        Event::Rename { to, .. } => to,
    };
    path.starts_with(directory)
}

/// `name(arguments) = result`; `None` for one that failed or changes nothing.
fn event(call: &str) -> Option<Event> {
    let (name, rest) = call.split_once('(')?;
    let (arguments, result) = rest.rsplit_once(") = ")?;
    if result.starts_with('-') {
        return None;
    }
    let arguments: Vec<&str> = arguments.split(", ").collect();
    let number = |at: usize| arguments.get(at)?.parse::<u64>().ok();
    match name {
        "openat" if arguments[2].contains("O_CREAT") => Some(Event::Create {
            path: text(arguments[1])?,
            truncated: arguments[2].contains("O_TRUNC"),
        }),
        "mkdir" => Some(Event::Mkdir(text(arguments[0])?)),
        "unlink" => Some(Event::Unlink(text(arguments[0])?)),
        "rename" => Some(Event::Rename {
            from: text(arguments[0])?,
            to: text(arguments[1])?,
        }),
        "fsync" | "fdatasync" => Some(Event::Sync(descriptor(arguments[0])?)),
        "ftruncate" => Some(Event::Truncate {
            path: descriptor(arguments[0])?,
            length: number(1)?,
        }),
        "write" | "pwrite64" => {
            let path = descriptor(arguments[0])?;
            let mut data = bytes(arguments[1].trim_matches('"'))?;
            data.truncate(result.trim().parse().ok()?);
            let at = number(3);
            Some(Event::Write { path, at, data })
        }
        "openat" => None,
        // A way of writing that this model does not know would make it wrong.
        other => descriptor(arguments[0])
            .filter(|path| path.is_absolute())
            .map(|path| panic!("{other} of {}", path.display())),
    }
}

/// `"\x2f\x74"`.
fn text(quoted: &str) -> Option<PathBuf> {
    Some(
        String::from_utf8(bytes(quoted.trim_matches('"'))?)
            .ok()?
            .into(),
    )
}

/// `7<\x2f\x74>`.
fn descriptor(argument: &str) -> Option<PathBuf> {
    let (_, path) = argument.strip_suffix('>')?.split_once('<')?;
    Some(String::from_utf8(bytes(path)?).ok()?.into())
}

fn bytes(escaped: &str) -> Option<Vec<u8>> {
    let digits = |hex: &str| u8::from_str_radix(hex, 16).ok();
    escaped.split("\\x").skip(1).map(digits).collect()
}
