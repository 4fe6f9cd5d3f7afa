//! R5: no room. Every call that writes fails once with ENOSPC while a cache file is built, and file systems of
//! every size below the one that is needed fill up for real.

use std::path::Path;

use crate::support::cli::Said;

use super::small_disk::SmallDisk;
use super::strace::{self, Traced};
use super::warming::{Warming, model, warm};
use super::{Fault, Figure, Trial, pick, right};

const CALLS: [&str; 4] = ["pwrite64", "write", "fallocate", "ftruncate"];
/// Calls of one kind in one thread.
const MOST: usize = 500;

#[test]
fn r5_no_call_that_writes_may_fail_and_do_harm() {
    if !strace::is_there() {
        return;
    }
    let warming = Warming::new();
    let mut figure = Figure::new("R5", "ENOSPC at every write of a cache build");
    for call in CALLS {
        for nth in 1..=MOST {
            let dir = warming.fresh();
            let arguments = ["cache", "warm", &model(), "--dir", dir.to_str().unwrap()];
            let log = warming.root().join("strace.log");
            let traced = strace::woollyctl(&arguments, call, "error=ENOSPC", nth, &log);
            if traced.injected.is_empty() {
                break;
            }
            let case = format!("{call} {nth}");
            figure.count(
                failed_well(&traced, &case)
                    .and_then(|()| warming.is_tidy(&dir, &case))
                    .and_then(|()| warming.recovers(&dir, &case)),
            );
        }
    }
    figure.finish(8);
}

/// It ended with a documented code, and with a sentence unless the sentence was what could not be written.
fn failed_well(traced: &Traced, case: &str) -> Trial {
    let said = &traced.said;
    let documented = matches!(said.code, Some(0 | 1)) && !said.err.contains("panicked");
    right(documented, || format!("{case}: {said:?}"))?;
    let silenced = traced.injected.iter().any(|call| call.contains("write(2,"));
    // A record that cannot be written costs the next start some time, and is not worth a failure.
    let told = said.code == Some(0) || said.err.contains("woollyctl: ") || silenced;
    if told {
        Ok(())
    } else {
        Err(Fault::Unnoticed(format!("{case}: {said:?}")))
    }
}

#[test]
fn r5_a_file_system_that_is_too_small_is_said_to_be() {
    let warming = Warming::new();
    let Some(disk) = SmallDisk::mount(&warming.root().join("disk")) else {
        return println!("skipped: mounting a file system needs root");
    };
    let mut figure = Figure::new("R5", "full file systems of every size");
    let trials = pick(4, 32, 256);
    for trial in 0..trials {
        // The file takes 1.2 MiB.
        let size = 16 + trial * 1_600 / trials;
        let case = format!("{size} KiB");
        disk.resize(size);
        let dir = disk.path.join("cache");
        figure.count(
            filled(&warming, &warm(&dir), &dir, &case, size).and_then(|()| {
                disk.resize(16 << 10);
                warming.recovers(&dir, &case)
            }),
        );
        std::fs::remove_dir_all(&dir).unwrap();
    }
    figure.finish(trials);
}

fn filled(warming: &Warming, said: &Said, dir: &Path, case: &str, size: usize) -> Trial {
    right(!said.err.contains("panicked"), || {
        format!("{case}: {said:?}")
    })?;
    warming.is_tidy(dir, case)?;
    let told = match said.code {
        Some(0) => size > 1_200,
        Some(1) => said.err.contains(" bytes"),
        _ => false,
    };
    if told {
        Ok(())
    } else {
        Err(Fault::Unnoticed(format!("{case}: {said:?}")))
    }
}
