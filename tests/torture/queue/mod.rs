//! The figures of the queue: what clients were told must hold, whatever happens to the daemon.
//!
//! - `work`: requests, and what an undisturbed daemon answers to them
//! - `ledger`: what clients sent and what they were told, kept outside of the daemon
//! - `store_file`: the rows of a queue, read from a copy
//! - `invariants`: I1 to I7, rows and answers held against the ledger
//! - `stage`: a daemon's directory with the three above, over many lives of the daemon
//! - `submitters`: clients of every kind, at work until the daemon goes
//! - `traced`: a daemon whose system calls fail on purpose; `threads`: some of its threads; `calls`: what strace saw;
//!   `sweep`: all calls of a kind
//! - `traced_files`, `disk_image`: what a daemon does to its files, and what a power loss leaves of it
//! - `random_changes`: what a store is asked for, at random
//! - `broken`: every invariant, broken on purpose
//! - `bounds`: what times and memory have to keep to
//! - `percentiles`: half of the times, and most of them
//! - `figure`: the counts, one line of the table
//!
//! I1 an accepted job exists. I2 after a drain it is at its end, and completed unless the test says otherwise.
//! I3 it has one result, which never changes. I4 the result is that of an undisturbed run. I5 what was sent once and
//! not answered exists at most once. I6 the file is sound. I7 nothing is left behind. I8 a fault names its seed.

mod bounds;
mod broken;
mod calls;
mod disk_image;
mod figure;
mod invariants;
mod ledger;
mod percentiles;
mod r15_deep_queue;
mod r16_drain;
mod r17_disconnects;
mod r18_clock;
mod r1_random_kills;
mod r22_descriptors;
mod r23_panics;
mod r24_poison;
mod r26_migrations;
mod r28_model;
mod r2_boundaries;
mod r2_dropped_files;
mod r30_backups;
mod r3_power_loss;
mod r4_failed_sync;
mod r5_full_disk;
mod random_changes;
mod stage;
mod store_file;
mod submitters;
mod sweep;
mod threads;
mod traced;
mod traced_files;
mod work;

/// The seed of every random choice: `WOOLLY_TORTURE_SEED`, or always the same one.
fn seed() -> u64 {
    match std::env::var("WOOLLY_TORTURE_SEED") {
        Ok(text) => text.parse().expect("WOOLLY_TORTURE_SEED is not a number"),
        Err(_) => 6,
    }
}
