//! A team of threads that computes one phase after the other without locks.
//!
//! A phase is a number of chunks. The leader publishes it, everyone takes chunks from one atomic
//! cursor, and the leader returns when all chunks are done. A helper that is late finds nothing to
//! take and costs nothing: on a machine with another busy process, half a phase never waits for a
//! thread that is not running.
//!
//! Invariant: no allocation and no system call between the phases of a step. Helpers spin between
//! phases, then yield, and park only when no step is running, so an idle team uses no CPU.
//!
//! A panic in a chunk ends the phase and is raised again on the leader.
#![allow(
    unsafe_code,
    reason = "phases borrow from the leader's stack across threads"
)]

use std::any::Any;
use std::cell::Cell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Pauses before a waiting thread gives its core away. About 5 microseconds: longer than the
/// imbalance of a phase, short enough that a busy neighbour is not fought (with 200 pauses a
/// competing process cost 13 % less than with 4,000).
const SPINS: u32 = 400;
/// Yields after a step before a helper parks: the next step usually follows within microseconds.
const IDLE_YIELDS: u32 = 200;

/// Chunks left in the cursor's low bits; the phase number above them.
const LEFT_BITS: u32 = 24;
const LEFT_MASK: u64 = (1 << LEFT_BITS) - 1;

#[repr(align(128))]
struct Line<T>(T);

struct Shared {
    /// Phase number and chunks left to take. One word, so that a chunk can only be taken from the
    /// phase whose description was read.
    cursor: Line<AtomicU64>,
    /// Chunks finished in this phase.
    done: Line<AtomicU32>,
    /// The phase: how many chunks, the closure, and the function that calls it.
    count: AtomicU32,
    data: AtomicPtr<()>,
    call: AtomicPtr<()>,
    /// A step is running: helpers yield instead of parking.
    active: AtomicBool,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Nanoseconds that each thread spent in chunks. Two looks at the clock in a phase: less than a thousandth of
    /// the smallest model's token.
    busy: Box<[Line<AtomicU64>]>,
}

type Call = unsafe fn(*const (), usize);

impl Shared {
    /// Takes chunks until none is left.
    fn work(&self, thread: usize) {
        let mut start = None;
        loop {
            let seen = self.cursor.0.load(Ordering::Acquire);
            let left = seen & LEFT_MASK;
            if left == 0 {
                break;
            }
            let count = self.count.load(Ordering::Relaxed);
            let data = self.data.load(Ordering::Relaxed);
            let call = self.call.load(Ordering::Relaxed);
            let taken = self.cursor.0.compare_exchange_weak(
                seen,
                seen - 1,
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
            if taken.is_err() {
                std::hint::spin_loop();
                continue;
            }
            start.get_or_insert_with(Instant::now);
            let index = u64::from(count) - left;
            // SAFETY: `call` was stored from a `Call` in `phase`. The exchange succeeded, so the
            // cursor still named the phase that `seen` named. The leader overwrites the description only
            // after `done` counted every chunk, this one too, so all three loads belong to this phase.
            let call = unsafe { std::mem::transmute::<*mut (), Call>(call) };
            // SAFETY: the leader keeps the closure alive until `done` has counted this chunk, and
            // every index is handed out once.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { call(data, index as usize) }));
            if let Err(panic) = result {
                self.panic
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(panic);
            }
            self.done.0.fetch_add(1, Ordering::Release);
        }
        if let Some(start) = start {
            self.count_busy(thread, start);
        }
    }

    fn count_busy(&self, thread: usize, start: Instant) {
        let nanoseconds = start.elapsed().as_nanos() as u64;
        self.busy[thread]
            .0
            .fetch_add(nanoseconds, Ordering::Relaxed);
    }

    fn help(&self, thread: usize) {
        let mut waited = 0;
        while !self.stop.load(Ordering::Acquire) {
            if self.cursor.0.load(Ordering::Relaxed) & LEFT_MASK != 0 {
                self.work(thread);
                waited = 0;
            } else if waited < SPINS {
                std::hint::spin_loop();
                waited += 1;
            } else if self.active.load(Ordering::Acquire) {
                std::thread::yield_now();
            } else if waited < SPINS + IDLE_YIELDS {
                std::thread::yield_now();
                waited += 1;
            } else {
                std::thread::park();
                waited = 0;
            }
        }
    }
}

/// The leader's handle; the thread that owns it is the leader. Dropping it ends the helpers.
pub struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    phase: Cell<u64>,
    /// A phase is running. A chunk could reach the team through a thread-local variable, and a second phase
    /// would overwrite the description of the first, which others still work on.
    busy: Cell<bool>,
    /// Not `Sync`: phases are started by one thread at a time, never from inside a chunk.
    _leader: PhantomData<Cell<()>>,
}

impl Team {
    /// A team of `threads`, of which the caller is one; helpers are named `<name>-t1`, ...
    ///
    /// # Errors
    /// When the system cannot start a thread.
    pub fn new(name: &str, threads: usize) -> std::io::Result<Team> {
        let shared = Arc::new(Shared {
            cursor: Line(AtomicU64::new(0)),
            done: Line(AtomicU32::new(0)),
            count: AtomicU32::new(0),
            data: AtomicPtr::new(std::ptr::null_mut()),
            call: AtomicPtr::new(std::ptr::null_mut()),
            active: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
            busy: (0..threads.max(1))
                .map(|_| Line(AtomicU64::new(0)))
                .collect(),
        });
        let mut team = Team {
            shared,
            helpers: Vec::new(),
            phase: Cell::new(0),
            busy: Cell::new(false),
            _leader: PhantomData,
        };
        for i in 1..threads {
            let shared = Arc::clone(&team.shared);
            let helper = std::thread::Builder::new()
                .name(format!("{name}-t{i}"))
                .spawn(move || shared.help(i))?;
            team.helpers.push(helper);
        }
        Ok(team)
    }

    pub fn threads(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Time that all threads together have spent in chunks; what is left of their time they waited, or one worked
    /// alone.
    pub fn busy(&self) -> Duration {
        let of = |line: &Line<AtomicU64>| line.0.load(Ordering::Relaxed);
        Duration::from_nanos(self.shared.busy.iter().map(of).sum())
    }

    /// Runs `step` with the helpers awake; they park again some microseconds after it.
    pub fn step<R>(&self, step: impl FnOnce() -> R) -> R {
        self.shared.active.store(true, Ordering::Release);
        for helper in &self.helpers {
            helper.thread().unpark();
        }
        let guard = Active(&self.shared);
        let result = step();
        drop(guard);
        result
    }

    /// Cuts `out` into pieces of `piece` values (the last may be shorter) and calls `f(index, piece)`
    /// once for each, on any thread of the team. Returns when all are done.
    ///
    /// # Panics
    /// When `piece` is 0, when there are 2^24 pieces or more, when it is called from inside a piece, or when
    /// `f` panics.
    pub fn chunks<T: Send>(&self, out: &mut [T], piece: usize, f: impl Fn(usize, &mut [T]) + Sync) {
        assert!(piece > 0);
        let (len, base) = (out.len(), Base(out.as_mut_ptr()));
        self.phase(len.div_ceil(piece), &|index: usize| {
            let base = &base;
            let start = index * piece;
            let count = piece.min(len - start);
            // SAFETY: index < number of pieces, so start < len: inside the slice.
            let first = unsafe { base.0.add(start) };
            // SAFETY: pieces do not overlap, each index comes once, and `out` stays borrowed.
            f(index, unsafe {
                std::slice::from_raw_parts_mut(first, count)
            });
        });
    }

    /// Calls `f(index, piece)` once for each of the pieces of `len` values of `out` that begin at `starts`, on any
    /// thread of the team. Returns when all are done.
    ///
    /// # Panics
    /// When the starts do not increase by `len` at least, or a piece is not within `out`; and as
    /// [`Team::chunks`].
    pub fn scattered<T: Send>(
        &self,
        out: &mut [T],
        starts: &[usize],
        len: usize,
        f: impl Fn(usize, &mut [T]) + Sync,
    ) {
        assert!(
            starts
                .windows(2)
                .all(|pair| pair[0] < pair[1] && pair[1] - pair[0] >= len)
        );
        assert!(
            starts
                .last()
                .is_none_or(|&last| len <= out.len() && last <= out.len() - len)
        );
        let base = Base(out.as_mut_ptr());
        self.phase(starts.len(), &|index: usize| {
            let base = &base;
            // SAFETY: the starts increase, and the last piece ends within the slice: so do all.
            let first = unsafe { base.0.add(starts[index]) };
            // SAFETY: pieces do not overlap, each index comes once, and `out` stays borrowed.
            f(index, unsafe { std::slice::from_raw_parts_mut(first, len) });
        });
    }

    fn phase<F: Fn(usize) + Sync>(&self, count: usize, f: &F) {
        unsafe fn call<F: Fn(usize)>(data: *const (), index: usize) {
            // SAFETY: `data` is the `f` of the phase that this chunk belongs to.
            let f = unsafe { &*data.cast::<F>() };
            f(index);
        }
        assert!(count as u64 <= LEFT_MASK);
        if self.helpers.is_empty() || count <= 1 {
            let start = Instant::now();
            (0..count).for_each(f);
            self.shared.count_busy(0, start);
            return;
        }
        assert!(!self.busy.replace(true), "a phase inside a phase");
        let shared = &*self.shared;
        let phase = self.phase.get() + 1;
        self.phase.set(phase);
        // No chunk is left of the phase before, so no helper relies on its description.
        shared.done.0.store(0, Ordering::Relaxed);
        shared.count.store(count as u32, Ordering::Relaxed);
        shared
            .data
            .store(std::ptr::from_ref(f).cast_mut().cast(), Ordering::Relaxed);
        shared
            .call
            .store(call::<F> as Call as *mut (), Ordering::Relaxed);
        shared
            .cursor
            .0
            .store(phase << LEFT_BITS | count as u64, Ordering::Release);
        shared.work(0);
        let mut waited = 0;
        while shared.done.0.load(Ordering::Acquire) != count as u32 {
            if waited < SPINS {
                std::hint::spin_loop();
                waited += 1;
            } else {
                std::thread::yield_now();
            }
        }
        self.busy.set(false);
        let panic = shared
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper catches the panics of chunks, so it has none of its own to report.
            let _ = helper.join();
        }
    }
}

/// Ends the step also when it panics.
struct Active<'a>(&'a Shared);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.store(false, Ordering::Release);
    }
}

struct Base<T>(*mut T);

// SAFETY: shared only to hand out disjoint pieces of a slice of `Send` values.
unsafe impl<T: Send> Sync for Base<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_is_visited_once() {
        for threads in [1, 2, 3, 7] {
            let team = Team::new("test", threads).unwrap();
            team.step(|| {
                for len in [0usize, 1, 2, 5, 64, 1000] {
                    for piece in [1, 3, 64] {
                        let mut out = vec![0usize; len];
                        team.chunks(&mut out, piece, |index, chunk| {
                            for (i, v) in chunk.iter_mut().enumerate() {
                                *v += index * piece + i + 1;
                            }
                        });
                        assert!(
                            out.iter().enumerate().all(|(i, &v)| v == i + 1),
                            "{threads} {len} {piece}"
                        );
                    }
                }
            });
        }
    }

    #[test]
    fn scattered_pieces_are_visited_once_and_must_not_overlap() {
        let team = Team::new("test", 2).unwrap();
        let mut out = [0u8; 10];
        team.scattered(&mut out, &[1, 3, 8], 2, |index, piece| {
            piece.fill(index as u8 + 1)
        });
        assert_eq!(out, [0, 1, 1, 2, 2, 0, 0, 0, 3, 3]);
        team.scattered(&mut out, &[], 20, |_, _| unreachable!());
        for starts in [&[1, 2][..], &[3, 1], &[9], &[4, 4]] {
            let result = catch_unwind(AssertUnwindSafe(|| {
                team.scattered(&mut out, starts, 2, |_, _| {});
            }));
            assert!(result.is_err(), "{starts:?}");
        }
    }

    #[test]
    fn time_in_chunks_is_counted_for_every_thread() {
        let nap = Duration::from_millis(20);
        for (threads, pieces) in [(1, 2), (2, 2), (2, 1)] {
            let team = Team::new("test", threads).unwrap();
            assert_eq!(team.busy(), Duration::ZERO);
            let start = Instant::now();
            team.chunks(&mut vec![0; pieces], 1, |_, _| std::thread::sleep(nap));
            // A helper may count its last chunk after the leader has seen it done.
            while team.busy() < nap * pieces as u32 {
                std::thread::yield_now();
            }
            assert!(team.busy() <= start.elapsed() * threads as u32, "{threads}");
        }
    }

    #[test]
    fn many_short_phases_follow_each_other() {
        let team = Team::new("test", 3).unwrap();
        let mut out = vec![0u32; 13];
        team.step(|| {
            for _ in 0..20_000 {
                team.chunks(&mut out, 2, |_, chunk| {
                    chunk.iter_mut().for_each(|v| *v += 1)
                });
            }
        });
        assert_eq!(out, vec![20_000; 13]);
    }

    #[test]
    fn a_team_wakes_up_after_it_parked() {
        let team = Team::new("test", 2).unwrap();
        let mut out = vec![0u32; 64];
        for _ in 0..50 {
            team.step(|| team.chunks(&mut out, 1, |_, chunk| chunk[0] += 1));
            std::thread::yield_now();
        }
        assert_eq!(out, vec![50; 64]);
    }

    #[test]
    fn a_phase_cannot_be_started_inside_a_phase() {
        thread_local! {
            static TEAM: Team = Team::new("test", 2).unwrap();
        }
        let entered = AtomicBool::new(false);
        let leader = std::thread::current().id();
        let result = catch_unwind(AssertUnwindSafe(|| {
            TEAM.with(|team| {
                team.chunks(&mut [0u8; 2], 1, |_, _| {
                    if std::thread::current().id() == leader {
                        entered.store(true, Ordering::Release);
                        TEAM.with(|team| team.chunks(&mut [0u8; 2], 1, |_, _| {}));
                    } else {
                        // Leaves the other chunk to the leader.
                        while !entered.load(Ordering::Acquire) {
                            std::hint::spin_loop();
                        }
                    }
                });
            });
        }));
        let panic = result.unwrap_err();
        assert_eq!(
            panic.downcast_ref::<&str>(),
            Some(&"a phase inside a phase")
        );
        let mut out = [0u8; 100];
        TEAM.with(|team| team.chunks(&mut out, 1, |_, chunk| chunk[0] += 1));
        assert_eq!(out, [1; 100]);
    }

    #[test]
    fn a_panic_reaches_the_leader_and_the_team_lives_on() {
        let team = Team::new("test", 2).unwrap();
        let mut out = vec![0u32; 100];
        let result = catch_unwind(AssertUnwindSafe(|| {
            team.chunks(&mut out, 1, |index, _| assert!(index != 57, "chunk 57"));
        }));
        assert!(result.is_err());
        team.chunks(&mut out, 1, |index, chunk| chunk[0] = index as u32);
        assert!(out.iter().enumerate().all(|(i, &v)| v == i as u32));
    }
}
