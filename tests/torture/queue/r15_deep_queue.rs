//! R15: a queue of a million jobs. How long a submit takes, what it costs in memory, how soon a daemon is back, and how
//! long it takes to be rid of it.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::json;
use woolly::queue::{Applied, Change, FlowChange, JobStore, SqliteStore};

use crate::support::daemon::{Daemon, Home};
use crate::support::http::Client;
use crate::torture::pick;

use super::bounds::{self, Deep};
use super::figure::Figure;
use super::percentiles::Percentiles;
use super::store_file::StoreFile;
use super::work::CONFIG;

const CLIENTS: usize = 4;
/// Syncs that are measured beside them.
const SYNCS: usize = 300;
/// Lists of a hundred jobs that are measured.
const LISTS: usize = 200;
/// Jobs that are claimed and given back.
const CLAIMS: usize = 300;
/// Jobs that are run from the deep queue.
const RUN: usize = 200;

#[test]
fn r15_a_deep_queue() {
    let mut figure = Figure::new("R15", "jobs that wait at once");
    let jobs = pick(500, 20_000, 1_000_000);
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
    let lists = times(LISTS, |_| {
        let page = client.get("/v1/jobs?limit=100").expect(200);
        assert_eq!(page["data"].as_array().unwrap().len(), 100);
    });
    figure.trials = jobs + 2 * measures();
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
    let claims = claims(&home.path().join("state"));
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
    client.send("POST", "/v1/queue/pause", &[], b"").expect(200);
    let began = Instant::now();
    let beside = cancel_all(&client, figure.trials);
    let cancelled = began.elapsed();
    let waiting = count(&client, "queued");
    // Those that were submitted meanwhile, and none else.
    if waiting != beside.len() {
        let sentence = format!("{waiting} jobs wait after all were cancelled");
        figure.faults.wrong.push(sentence);
    }
    let beside = Percentiles::of(beside);
    daemon.kill();
    let file = StoreFile::copied(&home.path().join("state"));
    figure.faults.wrong.extend(file.damage);
    let there: HashSet<i64> = file.rows.iter().map(|row| row.id).collect();
    let gone = (1..=figure.trials as i64).filter(|id| !there.contains(id));
    let gone = gone.map(|id| format!("job {id} is gone"));
    figure.faults.lost.extend(gone);

    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    figure.note(format!(
        "a submit takes {deep} with {jobs} jobs, {empty} in an empty queue; a sync here {syncs}"
    ));
    figure.note(format!(
        "a list of 100 takes {lists}; a claim with its sync {claims}; all jobs were cancelled in {:.1} s, beside which a \
         submit takes {beside}",
        cancelled.as_secs_f64(),
    ));
    figure.note(format!(
        "{per_second:.0} submits a second from {CLIENTS} clients; memory {resident} MiB, {base} before; ready after {:.0} ms, \
         after a kill {:.0} ms; {RUN} jobs of it done in {:.0} ms",
        ms(after_stop), ms(after_kill), ms(run)
    ));
    figure.hold(&bounds::deep(&Deep {
        submit: deep,
        sync: syncs,
        base_mib: base,
        resident_mib: resident,
        start: after_stop,
        start_after_kill: after_kill,
        cancelled,
        beside_cancels: beside,
    }));
    figure.finish(jobs, jobs + 2 * measures());
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

/// The first jobs, all at once; how long submits took beside that.
fn cancel_all(client: &Client, jobs: usize) -> Vec<Duration> {
    let is_over = AtomicBool::new(false);
    thread::scope(|threads| {
        let beside = threads.spawn(|| {
            let mut times = Vec::new();
            while times.is_empty() || !is_over.load(Ordering::Relaxed) {
                let began = Instant::now();
                submit(client, 0);
                times.push(began.elapsed());
            }
            times
        });
        let mut before = Some(format!("job_{}", jobs + 1));
        while let Some(last) = before {
            let path = format!("/v1/jobs/cancel?before={last}");
            let answer = client.send("POST", &path, &[], b"").expect(200);
            before = answer["more_before"].as_str().map(str::to_owned);
        }
        is_over.store(true, Ordering::Relaxed);
        beside.join().unwrap()
    })
}

/// Without a daemon: what the store needs to give the next job out. They are given back.
fn claims(state: &Path) -> Percentiles {
    let mut store = SqliteStore::open(state).unwrap();
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_ms = now_ms.as_millis() as i64;
    let mut apply = |change| store.apply(&[change], now_ms).unwrap().pop().unwrap();
    apply(Change::SetFlow(FlowChange::Resume)).unwrap();
    let mut claimed = Vec::new();
    let claims = times(CLAIMS, |_| match apply(Change::Claim) {
        Ok(Applied::Claimed(Some(job))) => claimed.push(job.id),
        other => panic!("{other:?}"),
    });
    apply(Change::Requeue(claimed)).unwrap();
    apply(Change::SetFlow(FlowChange::Pause)).unwrap();
    Box::new(store).close().unwrap();
    claims
}

/// Submits that are measured, one after the other.
fn measures() -> usize {
    pick(200, 2_000, 2_000)
}

/// The median and the 99th percentile of submits one after the other, connection and answer included.
fn measured(client: &Client) -> Percentiles {
    times(measures(), |number| submit(client, number))
}

fn times(calls: usize, mut call: impl FnMut(usize)) -> Percentiles {
    Percentiles::of((0..calls).map(|number| {
        let began = Instant::now();
        call(number);
        began.elapsed()
    }))
}

/// The same of a write and a sync on the same disk.
fn syncs(home: &Home) -> Percentiles {
    let mut file = std::fs::File::create(home.path().join("sync")).unwrap();
    times(SYNCS, |_| {
        file.write_all(&[0; 4_096]).unwrap();
        file.sync_data().unwrap();
    })
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
