//! A team of threads that computes one phase after the other without locks.
//!
//! A phase is a number of chunks. The leader publishes it to every thread as that thread's share; each takes the
//! chunks of its own share, then what is left of the others', and the leader returns when all chunks are done. Who
//! comes when others have done all of its share does not look for more: its next share is soon there. A
//! helper that is late finds nothing to take and costs nothing: on a machine with another busy process, half a
//! phase never waits for a thread that is not running.
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

/// Alone in its cache lines, of which the hardware fetches two at a time.
#[repr(align(128))]
struct Line<T>(T);

/// What one thread computes of a phase, unless others are faster. All of it in one line, which nobody else writes
/// to while the thread takes its own chunks: one cursor for all was passed between the threads with every
/// chunk, and generation of a small model was 1 to 3 % slower.
#[repr(align(128))]
struct Share {
    /// Phase number and chunks left to take. One word, so that a chunk can only be taken from the phase whose
    /// description was read.
    cursor: AtomicU64,
    /// The chunk behind the last of the share.
    end: AtomicU32,
    /// The phase: the closure, and the function that calls it.
    data: AtomicPtr<()>,
    call: AtomicPtr<()>,
}

impl Share {
    fn empty() -> Self {
        Share {
            cursor: AtomicU64::new(0),
            end: AtomicU32::new(0),
            data: AtomicPtr::new(std::ptr::null_mut()),
            call: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    fn left(&self) -> u64 {
        self.cursor.load(Ordering::Relaxed) & LEFT_MASK
    }
}

struct Shared {
    /// One for each thread.
    shares: Box<[Share]>,
    /// Chunks finished in this phase.
    done: Line<AtomicU32>,
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
    /// Computes the thread's own share, then what others have left, until nothing is.
    fn work(&self, thread: usize) {
        let mut start = None;
        let mut done = 0;
        let threads = self.shares.len();
        for number in thread..thread + threads {
            let share = &self.shares[number % threads];
            while let Some((call, data, index)) = take(share) {
                start.get_or_insert_with(Instant::now);
                // SAFETY: `call` was stored from a `Call` in `phase`; see `take`.
                let call = unsafe { std::mem::transmute::<*mut (), Call>(call) };
                // SAFETY: the leader keeps the closure alive until `done` has counted this chunk, and
                // every index is handed out once.
                let result = catch_unwind(AssertUnwindSafe(|| unsafe { call(data, index) }));
                if let Err(panic) = result {
                    self.panic
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(panic);
                }
                done += 1;
            }
        }
        if let Some(start) = start {
            // All of one phase: the next begins when these are counted.
            self.done.0.fetch_add(done, Ordering::Release);
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
            if self.shares[thread].left() != 0 {
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

/// Takes the next chunk of a share: how to call the phase, and the chunk's number.
fn take(share: &Share) -> Option<(*mut (), *mut (), usize)> {
    loop {
        let seen = share.cursor.load(Ordering::Acquire);
        let left = seen & LEFT_MASK;
        if left == 0 {
            return None;
        }
        let end = share.end.load(Ordering::Relaxed);
        let data = share.data.load(Ordering::Relaxed);
        let call = share.call.load(Ordering::Relaxed);
        let taken =
            share
                .cursor
                .compare_exchange_weak(seen, seen - 1, Ordering::AcqRel, Ordering::Relaxed);
        // When the exchange succeeds, the cursor still named the phase that `seen` named. The leader overwrites the
        // description only after `done` counted every chunk, this one too, so all three loads belong to this phase.
        if taken.is_ok() {
            return Some((call, data, (u64::from(end) - left) as usize));
        }
        std::hint::spin_loop();
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
            shares: (0..threads.max(1)).map(|_| Share::empty()).collect(),
            done: Line(AtomicU32::new(0)),
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
        // No chunk is left of the phase before, so no thread relies on its description.
        shared.done.0.store(0, Ordering::Relaxed);
        let threads = shared.shares.len();
        let mut begin = 0;
        for (number, share) in (1..).zip(&shared.shares) {
            // The first shares are the larger ones: the leader is awake.
            let end = (count * number).div_ceil(threads);
            share.end.store(end as u32, Ordering::Relaxed);
            let data = std::ptr::from_ref(f).cast_mut().cast();
            share.data.store(data, Ordering::Relaxed);
            share
                .call
                .store(call::<F> as Call as *mut (), Ordering::Relaxed);
            let cursor = phase << LEFT_BITS | (end - begin) as u64;
            share.cursor.store(cursor, Ordering::Release);
            begin = end;
        }
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
mod tests;
