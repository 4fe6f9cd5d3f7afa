//! R3: the power goes. Every write and sync of a daemon is recorded; then disks are made as they may look if the power
//! goes at some moment of that record, and daemons are started on them.

use crate::torture::{pick, random, strace};

use super::disk_image::Disk;
use super::figure::Figure;
use super::seed;
use super::stage::Stage;
use super::traced::{script, under_strace};
use super::traced_files::{self, CALLS, Timed};
use super::work::CONFIG;

/// Bytes of one call that strace writes down; the daemon writes less at once.
const LONGEST_WRITE: &str = "1000000";

#[test]
fn r3_the_power_goes() {
    if !strace::is_there() {
        return;
    }
    let mut figure = Figure::new("R3", "disks as power losses leave them");
    let mut random = random(seed());
    let (mut calls, mut lost, mut images) = (0, 0, 0);
    for _ in 0..pick(1, 2, 8) {
        let (stage, events) = recorded();
        calls += events.len();
        for _ in 0..pick(6, 20, 50) {
            let moment = 1 + random(events.len() as u64 - 1) as usize;
            let mut disk = Disk::new();
            for timed in &events[..moment] {
                disk.happen(&timed.event);
            }
            let mut survivor = stage.before(events[moment - 1].began, CONFIG);
            let target = survivor.home.path().join("state");
            let state = stage.home.path().join("state");
            let gone = disk.lose_power(&state, &target, &mut random);
            lost += gone;
            images += usize::from(gone > 0);
            survivor.look();
            let (accepted, faults) = survivor.finish();
            figure.trials += 1;
            figure.accepted += accepted;
            let case = format!("after call {moment} of {}", events.len());
            figure.faults.add(&case, faults);
        }
    }
    figure.note(format!(
        "{calls} calls recorded; {lost} changes that were not synced were lost or cut, in {images} of {} images",
        figure.trials
    ));
    assert!(images > 0, "no image had lost anything");
    figure.finish(pick(6, 40, 400), pick(20, 300, 4_000));
}

/// A daemon's whole life with the script, and everything it did to its state directory.
fn recorded() -> (Stage, Vec<Timed>) {
    let stage = Stage::new(CONFIG);
    let options = ["-f", "-xx", "-s", LONGEST_WRITE, "-e", CALLS];
    let (status, said, log) = under_strace(&stage.home, &options, |client| {
        assert_eq!(script(&stage, client).unwrap(), 0);
    });
    assert_eq!(status.code(), Some(0), "{said}");
    // strace shows paths without links in them.
    let home = stage.home.path().canonicalize().unwrap();
    (stage, traced_files::read(&log, &home))
}
