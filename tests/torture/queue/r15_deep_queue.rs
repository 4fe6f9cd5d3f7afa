//! R15: a queue of a million jobs. How long a submit takes, what it costs in memory, how soon a daemon is back.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::daemon::{Daemon, Home};
use crate::support::http::Client;
use crate::torture::pick;

use super::figure::Figure;
use super::percentiles::Percentiles;
use super::work::CONFIG;

const CLIENTS: usize = 4;
/// Submits that are measured, one after the other.
const MEASURED: usize = 2_000;
/// Syncs that are measured beside them.
const SYNCS: usize = 300;
/// Jobs that are run from the deep queue.
const RUN: usize = 200;

#[test]
fn r15_a_deep_queue() {
    let mut figure = Figure::new("R15", "jobs that wait at once");
    let jobs = pick(2_000, 20_000, 1_000_000);
    let home = Home::new(&CONFIG.replace("[queue]\n", "[queue]\nmax_jobs = 2000000\n"));
    let daemon = home.start();
    let client = daemon.client();
    client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
    let empty = measured(&client);
    let base = resident_mib(&daemon);

    let began = Instant::now();
    fill(&client, jobs);
    let per_second = jobs as f64 / began.elapsed().as_secs_f64();
    let deep = measured(&client);
    let resident = resident_mib(&daemon);
    let syncs = syncs(&home);
    figure.trials = jobs + 2 * MEASURED;
    figure.accepted = count(&client, "queued");
    if figure.accepted != figure.trials {
        let sentence = format!("{} of {} jobs wait", figure.accepted, figure.trials);
        figure.faults.lost.push(sentence);
    }

    daemon.kill();
    let began = Instant::now();
    let daemon = home.start();
    let after_kill = began.elapsed();
    daemon.stop();
    let began = Instant::now();
    let daemon = home.start();
    let after_stop = began.elapsed();
    let client = daemon.client();
    if count(&client, "queued") != figure.trials {
        let sentence = "a restart has another count".to_owned();
        figure.faults.lost.push(sentence);
    }
    client
        .send("POST", "/v1/queue/resume", &[], b"")
        .expect(200);
    let began = Instant::now();
    while count(&client, "completed") < RUN {
        thread::yield_now();
    }
    let run = began.elapsed();
    daemon.kill();

    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let (goal_50, goal_99) = (
        Duration::from_millis(1).max(4 * syncs.half),
        Duration::from_millis(10).max(4 * syncs.half),
    );
    figure.note(format!(
        "a submit takes {deep} with {jobs} jobs, {empty} in an empty queue; a sync here {syncs}"
    ));
    let reached = |goal: bool| if goal { "reached" } else { "MISSED" };
    figure.note(format!(
        "goals p50 <= {:.1} ms {}, p99 <= {:.1} ms {}, memory <= base + 150 MiB {}",
        ms(goal_50),
        reached(deep.half <= goal_50),
        ms(goal_99),
        reached(deep.most <= goal_99),
        reached(resident <= base + 150)
    ));
    figure.note(format!(
        "{per_second:.0} submits a second from {CLIENTS} clients; memory {resident} MiB, {base} before; ready after {:.0} ms, \
         after a kill {:.0} ms; {RUN} jobs of it done in {:.0} ms",
        ms(after_stop), ms(after_kill), ms(run)
    ));
    figure.finish(jobs);
}

fn submit(client: &Client, number: usize) {
    let body = json!({"prompt": format!("job {number}"), "max_tokens": 1, "temperature": 0});
    let job = json!({"endpoint": "/v1/completions", "body": body});
    client.submit(&job);
}

fn fill(client: &Client, jobs: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|threads| {
        for _ in 0..CLIENTS {
            threads.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= jobs {
                        return;
                    }
                    submit(client, number);
                }
            });
        }
    });
}

/// The median and the 99th percentile of submits one after the other, connection and answer included.
fn measured(client: &Client) -> Percentiles {
    Percentiles::of((0..MEASURED).map(|number| {
        let began = Instant::now();
        submit(client, number);
        began.elapsed()
    }))
}

/// The same of a write and a sync on the same disk.
fn syncs(home: &Home) -> Percentiles {
    let mut file = std::fs::File::create(home.path().join("sync")).unwrap();
    Percentiles::of((0..SYNCS).map(|_| {
        let began = Instant::now();
        file.write_all(&[0; 4_096]).unwrap();
        file.sync_data().unwrap();
        began.elapsed()
    }))
}

fn resident_mib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib / 1_024
}

fn count(client: &Client, state: &str) -> usize {
    let health = client.get("/health").expect(200);
    health["jobs"][state].as_u64().unwrap() as usize
}
