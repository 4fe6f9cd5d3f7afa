//! R18: the clock of a whole daemon jumps while clients submit, by hours and by decades, back and forth, and while it
//! starts. Nobody named a time, so nobody may notice. (Before 1970: `r28_model`. The HTTP library has no name for such a
//! date, and breaks connections off.)

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::torture::{Scale, pick, random, scale};

use super::figure::Figure;
use super::ledger::Way;
use super::seed;
use super::stage::Stage;
use super::store_file::{Row, StoreFile};
use super::submitters::{Kind, submitter};
use super::work::CONFIG;

/// What the clock is set to, against the true time.
const JUMPS: [&str; 8] = ["+0", "+1h", "-1h", "+10y", "-10y", "-40y", "+1d", "-3"];
/// Between two of them.
const EVERY: Duration = Duration::from_millis(15);
/// Clients of jobs that stay until the end of the test; others are deleted 60 seconds after theirs, by the clock.
const WAYS: [Way; 5] = [
    Way::Detached { keyed: true },
    Way::Detached { keyed: true },
    Way::Detached { keyed: true },
    Way::Detached { keyed: false },
    Way::Attached,
];
const NEW: i64 = 40;
/// Lives of one directory, every second of which ends with `kill -9`.
const LIVES: usize = 10;

#[test]
fn r18_the_clock_of_a_daemon_jumps() {
    let Some(library) = library() else {
        assert_eq!(scale(), Scale::Smoke, "libfaketime is needed");
        println!("skipped: libfaketime is not there");
        return;
    };
    let mut figure = Figure::new("R18", "lives of a daemon whose clock jumps");
    let mut random = random(seed());
    let trials = pick(2, 10, 200);
    let jumps = AtomicUsize::new(0);
    let mut years_away = 0;
    while figure.trials < trials {
        let mut stage =
            Stage::new(&CONFIG.replace("[queue]\n", "[queue]\nretention = \"90000d\"\n"));
        for life in 0..LIVES.min(trials) {
            let log = live(&stage, &library, life % 2 == 1, &jumps, &mut random);
            stage.forgive(|sentence| sentence.contains("draining"));
            if log.contains("panicked") {
                figure.faults.wrong.push(log);
            }
            stage.look();
            figure.trials += 1;
        }
        let file = StoreFile::copied(&stage.home.path().join("state"));
        years_away += file.rows.iter().filter(|row| is_years_away(row)).count();
        // With the true time.
        let (accepted, faults) = stage.finish();
        figure.accepted += accepted;
        figure.faults.add("afterwards", faults);
    }
    let jumps = jumps.into_inner();
    figure.note(format!(
        "{jumps} jumps of the clock in {trials} lives; {years_away} jobs were taken in years away"
    ));
    if years_away == 0 {
        let sentence = "no job was taken in years away: the clock was not set";
        figure.faults.wrong.push(sentence.to_owned());
    }
    figure.finish(trials, 8 * trials);
}

/// By the true time.
fn is_years_away(row: &Row) -> bool {
    const YEAR_MS: u64 = 365 * 24 * 3_600_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    row.created_at_ms.abs_diff(now.as_millis() as i64) > YEAR_MS
}

/// Ends with `kill -9` or with SIGTERM; what the daemon wrote.
fn live(
    stage: &Stage,
    library: &Path,
    is_killed: bool,
    jumps: &AtomicUsize,
    random: &mut impl FnMut(u64) -> u64,
) -> String {
    let clock = Clock::new(stage.home.path());
    clock.jump(random);
    let preload = format!("LD_PRELOAD={}", library.display());
    let file = format!("FAKETIME_TIMESTAMP_FILE={}", clock.file.display());
    // Only the clock of the day can be set on a real machine.
    let options = ["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1"];
    let program = ["env", options[0], options[1], &file, &preload];
    let mut daemon = stage.home.spawn_under(&program);
    let (budget, is_over) = (AtomicI64::new(NEW), AtomicBool::new(false));
    thread::scope(|threads| {
        let mut ticks = crate::torture::random(random(u64::MAX));
        let (is_over, clock) = (&is_over, &clock);
        threads.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                clock.jump(&mut ticks);
                jumps.fetch_add(1, Ordering::Relaxed);
                // The moment is the mischief.
                thread::sleep(EVERY);
            }
        });
        let log = if daemon.wait_for("READY=1") {
            stage.ledger.ends(false);
            for way in WAYS {
                let submitter = submitter(stage, daemon.client(), &budget, random(u64::MAX));
                threads.spawn(move || submitter.run(Kind::Jobs(way)));
            }
            thread::sleep(Duration::from_micros(100_000 + random(400_000)));
            stage.ledger.ends(true);
            if is_killed {
                daemon.kill();
                String::new()
            } else {
                daemon.stop()
            }
        } else {
            daemon.end().1 + " panicked: it did not start"
        };
        is_over.store(true, Ordering::Relaxed);
        log
    })
}

/// What a daemon reads before it looks at the time.
struct Clock {
    file: PathBuf,
}

impl Clock {
    fn new(home: &Path) -> Self {
        Clock {
            file: home.join("clock"),
        }
    }

    /// By rename: nobody ever reads half of it.
    fn jump(&self, random: &mut impl FnMut(u64) -> u64) {
        let next = self.file.with_extension("next");
        let jump = JUMPS[random(JUMPS.len() as u64) as usize];
        std::fs::write(&next, format!("{jump}\n")).unwrap();
        std::fs::rename(&next, &self.file).unwrap();
    }
}

/// Where Debian and its kin keep it.
fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    folders
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
        .find(|library| library.exists())
}
