//! Building a cache file: temporary file, room reserved, windows computed, summed and written in parallel,
//! header, fsync, publication.
//!
//! Memory is one window per thread, whatever the size of the file. What was written is not read again: a
//! map of it would count as memory of the process.
//!
//! Nothing is written through a map: on a full disk that would be SIGBUS instead of an error.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use rustix::fs::FallocateFlags;

use super::checksums::{Abandon, Checksums};
use super::error::free_bytes;
use super::format::Header;
use super::temporary::Temporary;
use super::window::{Buffers, Windows};
use super::{Contents, Error, Progress, Work};

/// Builds the planned file in `directory` on the threads of the current rayon pool. False when a file of its name
/// has appeared meanwhile, which stays.
pub(super) fn build(
    directory: &Path,
    mut header: Header,
    contents: &dyn Contents,
    progress: &dyn Progress,
) -> Result<bool, Error> {
    let name = header.key.file_name();
    let bytes = header.file_bytes;
    match free_bytes(directory) {
        Some(available) if available < bytes => {
            return Err(Error::NoSpace {
                path: directory.to_path_buf(),
                bytes,
                available,
            });
        }
        _ => {}
    }
    let failed = |action| move |error| Error::writing(directory, action, bytes, error);

    let temporary = Temporary::create(directory).map_err(failed("create a cache file"))?;
    reserve(temporary.file(), bytes).map_err(failed("reserve room for a cache file"))?;
    progress.begin(Work::Making, bytes);
    let checksums = write_tensors(temporary.file(), &header, contents, progress)
        .map_err(failed("write a cache file"))?;
    go_on(progress)?;
    for (place, checksum) in header.places.iter_mut().zip(checksums) {
        place.checksum = checksum;
    }
    temporary
        .file()
        .write_all_at(&header.render(), 0)
        .map_err(failed("write the header of a cache file"))?;
    contents.confirm().map_err(Error::Source)?;
    go_on(progress)?;
    let published = temporary
        .publish(&directory.join(name))
        .map_err(failed("give a cache file its name"))?;
    progress.finish();
    Ok(published)
}

fn go_on(progress: &dyn Progress) -> Result<(), Error> {
    if progress.is_stopped() {
        return Err(Error::Stopped);
    }
    Ok(())
}

/// Makes the file its final size, so that a full disk shows before any work.
fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(bytes),
        other => Ok(other?),
    }
}

/// Each thread takes the next window, computes it in its own buffer, adds it to the tensors' checksums, and writes
/// it at its place. Returns the checksums.
fn write_tensors(
    file: &File,
    header: &Header,
    contents: &dyn Contents,
    progress: &dyn Progress,
) -> io::Result<Vec<u128>> {
    let windows = Windows::of(header);
    let next = AtomicUsize::new(0);
    let checksums = Checksums::new(header.places.len());
    (0..rayon::current_num_threads())
        .into_par_iter()
        .with_max_len(1)
        .try_for_each(|_| -> io::Result<()> {
            let watch = Abandon::unless_complete(&checksums);
            let mut buffers = Buffers::default();
            while let Some(range) = windows.range(next.fetch_add(1, Ordering::Relaxed)) {
                if progress.is_stopped() {
                    // Not complete: whoever waits for this window's turn is woken. `build` asks again.
                    return Ok(());
                }
                let Some(bytes) = windows.make(&range, contents, &checksums, &mut buffers) else {
                    // Another thread has failed, and tells why.
                    break;
                };
                file.write_all_at(bytes, range.start)?;
                progress.advance(bytes.len() as u64);
            }
            watch.complete();
            Ok(())
        })?;
    Ok(checksums.finish())
}
