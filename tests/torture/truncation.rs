//! R8: the cache file goes away under a daemon that decodes. It ends with a note, nothing wrong is published, the
//! file is set aside, and the next daemon finishes the job with the bytes it would have had.

use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::daemon::Home;
use crate::support::http::Client;

use super::warming::model;
use super::{Fault, Figure, Trial, pick, random, right};

/// Enough tokens that the daemon is still at it when the file is cut.
const TOKENS: u32 = 1_500;
/// The job is watched for at most so many tokens before the file is cut.
const WATCHED: u64 = 40;
const IO: i32 = 74;

/// A daemon's directory, and what its one job must give.
struct Scene {
    home: Home,
    golden: Value,
}

impl Scene {
    fn new() -> Self {
        let home = Home::new(&format!(
            "[model]\npath = {:?}\ncontext_length = 2048\n[cache]\ndir = \"cache\"\n\
             [workers]\nthreads_per_worker = 1\nslots = 2\nkv_bytes = \"32MiB\"\n",
            model()
        ));
        let daemon = home.start();
        let client = daemon.client();
        let golden = result(&client, &submit(&client));
        daemon.stop();
        Scene {
            home,
            golden: golden["result"]["choices"].clone(),
        }
    }

    fn file(&self, ending: &str) -> Option<PathBuf> {
        let files = fs::read_dir(self.home.path().join("cache")).unwrap();
        let mut paths = files.map(|file| file.unwrap().path());
        paths.find(|path| path.to_str().unwrap().ends_with(ending))
    }

    /// One trial: the file is cut to `length` bytes after `watched` tokens.
    fn cut(&self, watched: u64, length: u64) -> Trial {
        let case = format!("cut to {length} bytes after {watched} tokens");
        let daemon = self.home.start();
        let client = daemon.client();
        let id = submit(&client);
        client
            .stream("GET", &format!("/v1/jobs/{id}/events"), b"")
            .take(watched as usize)
            .for_each(drop);
        let file = self.file(".safetensors").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        OpenOptions::new()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(length)
            .unwrap();
        let (status, log) = daemon.end();
        right(status.code() == Some(IO), || {
            format!("{case}: {status}\n{log}")
        })?;
        let marker = self.home.path().join("state/fault");
        let note = fs::read_to_string(&marker).unwrap_or_default();
        if !note.contains(file.file_name().unwrap().to_str().unwrap()) {
            return Err(Fault::Unnoticed(format!(
                "{case}: the marker says {note:?}\n{log}"
            )));
        }

        let daemon = self.home.start();
        let client = daemon.client();
        let job = result(&client, &id);
        let log = daemon.stop();
        let same = job["result"]["choices"] == self.golden;
        right(same, || format!("{case}: other bytes: {job}"))?;
        // The one attempt is the one that completed.
        right(job["attempts"] == 1, || {
            format!("{case}: {} attempts", job["attempts"])
        })?;
        let Some(aside) = self.file(".bad") else {
            return Err(Fault::Unnoticed(format!(
                "{case}: nothing was set aside\n{log}"
            )));
        };
        fs::remove_file(aside).unwrap();
        if marker.exists() {
            return Err(Fault::Leftover(format!("{case}: the marker is left")));
        }
        Ok(())
    }
}

fn submit(client: &Client) -> String {
    let body = json!({"prompt": "x", "max_tokens": TOKENS, "temperature": 1, "seed": 8, "ignore_eos": true});
    let job = json!({"endpoint": "/v1/completions", "body": body});
    client.submit(&job)
}

/// The job when it has ended.
fn result(client: &Client, id: &str) -> Value {
    client
        .stream("GET", &format!("/v1/jobs/{id}/events"), b"")
        .for_each(drop);
    client.get(&format!("/v1/jobs/{id}")).expect(200)
}

#[test]
fn r8_a_file_that_is_cut_short_costs_nobody_anything() {
    let scene = Scene::new();
    let mut figure = Figure::new("R8", "cache file truncated while a daemon decodes");
    let seed = 8;
    let mut random = random(seed);
    let trials = pick(2, 50, 500);
    for _ in 0..trials {
        // One page is left, so that the file is still one, or nothing.
        let length = [0, 4096][random(2) as usize];
        figure.count(scene.cut(1 + random(WATCHED), length));
    }
    figure.finish(trials);
}
