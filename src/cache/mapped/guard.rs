//! What happens when a page of a mapped file cannot be read: SIGBUS, because someone truncated the file or
//! its disk failed. The process notes which file it was and ends; a page of zeros in its place would be
//! wrong weights.
//!
//! Invariant: after a fault nothing runs but calls that are safe in a signal handler (`write`, `_exit`,
//! `pause`, `sigaction`), on memory that was prepared before.

use std::ffi::c_int;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};

/// `EX_IOERR` of sysexits: a restart may help.
const EXIT_IO: c_int = 74;
/// Maps that are watched at once; the shards of the largest models are a few hundred. A map more is not
/// watched, and a fault in it ends the process without a note.
const MAX_WATCHED: usize = 1024;
/// Hexadecimal digits of an offset in a note.
pub(in crate::cache) const OFFSET_DIGITS: usize = 16;

/// One watched map.
struct Slot {
    /// 0 while the slot is free.
    start: AtomicUsize,
    len: AtomicUsize,
    path: AtomicPtr<Box<[u8]>>,
}

static SLOTS: [Slot; MAX_WATCHED] = [const {
    Slot {
        start: AtomicUsize::new(0),
        len: AtomicUsize::new(0),
        path: AtomicPtr::new(ptr::null_mut()),
    }
}; MAX_WATCHED];

/// Where the note is written; negative while nobody wants one.
static MARKER: AtomicI32 = AtomicI32::new(-1);

/// A thread is writing the note.
static ENDING: AtomicBool = AtomicBool::new(false);

/// Watches a map until it is dropped.
pub(in crate::cache) struct Watch {
    slot: &'static Slot,
}

/// Takes a free slot for `map`, which must outlive the watch. `None` when there is none.
pub(super) fn watch(map: &[u8], path: &Path) -> Option<Watch> {
    let start = map.as_ptr().addr();
    let slot = SLOTS.iter().find(|slot| {
        // The length is 0 until everything else is in place, so that a fault elsewhere meanwhile does not
        // look at a path that is not there yet.
        slot.start
            .compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    })?;
    let path: Box<[u8]> = path.as_os_str().as_bytes().into();
    slot.path
        .store(Box::into_raw(Box::new(path)), Ordering::Release);
    slot.len.store(map.len(), Ordering::Release);
    Some(Watch { slot })
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.slot.len.store(0, Ordering::Release);
        let path = self.slot.path.swap(ptr::null_mut(), Ordering::AcqRel);
        self.slot.start.store(0, Ordering::Release);
        // SAFETY: the pointer came from `Box::into_raw` in `watch`, and `swap` gave it to us alone. The
        // handler reads the path only of the map in which it was called, and whoever could fault in this
        // map would still borrow it, while the watch is dropped only with its owner.
        drop(unsafe { Box::from_raw(path) });
    }
}

/// Catches SIGBUS from now on; notes go to the file descriptor `marker`, if it is not negative.
pub(in crate::cache) fn install(marker: c_int) -> io::Result<()> {
    MARKER.store(marker, Ordering::Release);
    let handler = on_fault as extern "C" fn(c_int, *mut libc::siginfo_t, *mut libc::c_void);
    set_action(handler as usize, libc::SA_SIGINFO | libc::SA_ONSTACK)
}

/// Notes are not written any more.
pub(in crate::cache) fn forget_marker() {
    MARKER.store(-1, Ordering::Release);
}

fn set_action(handler: usize, flags: c_int) -> io::Result<()> {
    // SAFETY: `sigaction` is a plain C struct for which zeros are valid: an empty mask and the default.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler;
    action.sa_flags = flags;
    // SAFETY: the action is initialized, and its handler is a function of the signature that SA_SIGINFO
    // demands or the default; the old action is not asked for.
    let done = unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

extern "C" fn on_fault(_: c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid record to a handler that was installed with SA_SIGINFO.
    let info = unsafe { &*info };
    // SAFETY: the record of SIGBUS has an address.
    let address = unsafe { info.si_addr() }.addr();
    for slot in &SLOTS {
        let len = slot.len.load(Ordering::Acquire);
        let start = slot.start.load(Ordering::Acquire);
        if address.wrapping_sub(start) < len {
            // SAFETY: the path is in place as long as the length is not 0, and is freed only after the map
            // in which this thread faults has no user any more.
            let path = unsafe { &*slot.path.load(Ordering::Acquire) };
            end(path, address - start);
        }
    }
    // None of ours. With the default action the same access faults again and ends the process as if nobody
    // had watched.
    let _ = set_action(libc::SIG_DFL, 0);
}

/// Writes the note and a sentence, and ends the process.
fn end(path: &[u8], offset: usize) -> ! {
    // All threads of a step read the same file: without this their notes would run into each other.
    while ENDING.swap(true, Ordering::AcqRel) {
        // SAFETY: waits for a signal, and the first thread's `_exit`, without touching any state.
        unsafe { libc::pause() };
    }
    let mut digits = [b'0'; OFFSET_DIGITS];
    let mut rest = offset;
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[rest % 16];
        rest /= 16;
    }
    let marker = MARKER.load(Ordering::Acquire);
    if marker >= 0 {
        write(marker, &digits);
        write(marker, b" ");
        write(marker, path);
        write(marker, b"\n");
    }
    write(libc::STDERR_FILENO, b"error: file ");
    write(libc::STDERR_FILENO, path);
    write(
        libc::STDERR_FILENO,
        b": a part of it that is in use cannot be read any more; it was cut short, or its disk fails\n",
    );
    // SAFETY: ends the process without running anything else of it.
    unsafe { libc::_exit(EXIT_IO) }
}

/// Best effort: the process ends anyway.
fn write(file: c_int, bytes: &[u8]) {
    // SAFETY: the bytes are valid for their length for the whole call.
    unsafe { libc::write(file, bytes.as_ptr().cast(), bytes.len()) };
}
