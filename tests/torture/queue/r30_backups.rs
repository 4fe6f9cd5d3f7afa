//! R30: backups while clients submit and jobs run. Each holds everything that was accepted before it was asked for, and
//! clients hardly notice.

use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::Instant;

use crate::support::cli::{ctl, say};
use crate::torture::{pick, random};

use super::bounds::beside_backup;
use super::figure::Figure;
use super::ledger::Way;
use super::percentiles::Percentiles;
use super::seed;
use super::stage::Stage;
use super::store_file::StoreFile;
use super::submitters::submitter;
use super::work::CONFIG;

const CLIENTS: usize = 4;

#[test]
fn r30_backups_under_load() {
    let mut figure = Figure::new("R30", "backups while 4 clients submit");
    let stage = Stage::new(CONFIG);
    let daemon = stage.home.start();
    let mut random = random(seed());
    let budget = AtomicI64::new(i64::MAX);
    let (stopped, busy) = (AtomicBool::new(false), AtomicBool::new(false));
    // How long submits took without a backup beside them, and with one.
    let times = [Mutex::new(vec![]), Mutex::new(vec![])];
    let mut unfinished = 0;
    thread::scope(|threads| {
        for _ in 0..CLIENTS {
            let mut submitter = submitter(&stage, daemon.client(), &budget, random(u64::MAX));
            let (stopped, busy, times) = (&stopped, &busy, &times);
            threads.spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let (during, began) = (busy.load(Ordering::Relaxed), Instant::now());
                    if !submitter.job(Way::Detached { keyed: true }).unwrap() {
                        break;
                    }
                    if during == busy.load(Ordering::Relaxed) {
                        let mut times = times[usize::from(during)].lock().unwrap();
                        times.push(began.elapsed());
                    }
                }
            });
        }
        let folder = stage.home.path().join("backups");
        std::fs::create_dir(&folder).unwrap();
        for number in 0..pick(2, 8, 20) {
            let sent = stage.ledger.book().sent.clone();
            let archive = folder.join(format!("{number}.tar"));
            let mut backup = ctl(&stage.home.socket(), &["queue", "backup"]);
            backup.arg(&archive);
            busy.store(true, Ordering::Relaxed);
            say(backup).ends_with(0);
            busy.store(false, Ordering::Relaxed);
            let unpacked = folder.join(number.to_string());
            std::fs::create_dir(&unpacked).unwrap();
            let tar = Command::new("tar")
                .arg("-xf")
                .arg(&archive)
                .arg("-C")
                .arg(&unpacked)
                .status();
            assert!(tar.unwrap().success());
            let file = StoreFile::read(&unpacked);
            unfinished += file.unfinished();
            figure.faults.wrong.extend(file.damage);
            for (mark, sent) in sent.iter().enumerate() {
                let is_there = |id: &i64| {
                    file.rows
                        .iter()
                        .any(|row| row.id == *id && row.mark == Some(mark))
                };
                if !sent.ids.iter().all(is_there) {
                    let sentence = format!("backup {number} lacks {sent:?}");
                    figure.faults.lost.push(sentence);
                }
            }
            figure.trials += 1;
        }
        stopped.store(true, Ordering::Relaxed);
        std::fs::remove_dir_all(&folder).unwrap();
    });
    daemon.stop();
    let (accepted, faults) = stage.finish();
    figure.accepted = accepted;
    figure.faults.add("afterwards", faults);
    figure.note(format!("{unfinished} jobs of the backups had not run yet"));
    let [without, with] = times.map(|times| times.into_inner().unwrap());
    // A short run may have none of a kind.
    if ![&without, &with].into_iter().any(Vec::is_empty) {
        let [without, with] = [without, with].map(Percentiles::of);
        figure.note(format!(
            "a submit takes {with} while a backup is made, {without} otherwise"
        ));
        figure.hold(&beside_backup(&without, &with));
    }
    figure.finish(pick(2, 8, 20), pick(4, 40, 200));
}
