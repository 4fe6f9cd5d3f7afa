//! Building a cache file: temporary file, room reserved, strips filled, summed and written in parallel,
//! header, fsync, publication.
//!
//! Memory is one buffer per thread, whatever the size of the file. What was written is not read again: a
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
use super::strip::{Strip, strips};
use super::temporary::Temporary;
use super::{Contents, Error, Progress, Work};

/// Values per strip: 512 KiB stay in a core's second-level cache from filling to writing.
const STRIP_VALUES: usize = (512 << 10) / size_of::<f32>();

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
    progress.begin(
        Work::Making,
        header.places.iter().map(|place| place.bytes).sum(),
    );
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

/// What one thread works in.
#[derive(Default)]
struct Buffers {
    /// A strip as it goes to the file.
    stored: Vec<f32>,
    /// Its values before they were rounded.
    computed: Vec<f32>,
}

/// Each thread takes the next strip, fills it in its own buffer, adds it to the tensor's checksum while it
/// is in the core's cache, and writes it at its place. Returns the checksums.
fn write_tensors(
    file: &File,
    header: &Header,
    contents: &dyn Contents,
    progress: &dyn Progress,
) -> io::Result<Vec<u128>> {
    let specs = header.places.iter().map(|place| &place.spec);
    let strips = strips(specs, header.key.element, STRIP_VALUES);
    let next = AtomicUsize::new(0);
    let checksums = Checksums::new(header.places.len());
    let write = |strip: &Strip, buffers: &mut Buffers| -> io::Result<bool> {
        let place = &header.places[strip.tensor];
        let Buffers { stored, computed } = buffers;
        // Of a type whose alignment serves all.
        let words = strip.bytes.div_ceil(size_of::<f32>());
        if stored.len() < words {
            stored.resize(words, 0.0);
        }
        let bytes = &mut bytemuck::cast_slice_mut(stored)[..strip.bytes];
        strip.make(contents, &place.spec, computed, bytes);
        if !checksums.add(strip.tensor, strip.start, bytes) {
            return Ok(false);
        }
        let offset = place.offset + strip.start as u64;
        file.write_all_at(bytes, offset)?;
        progress.advance(bytes.len() as u64);
        Ok(true)
    };
    (0..rayon::current_num_threads())
        .into_par_iter()
        .with_max_len(1)
        .try_for_each(|_| -> io::Result<()> {
            let watch = Abandon::unless_complete(&checksums);
            let mut buffers = Buffers::default();
            while let Some(strip) = strips.get(next.fetch_add(1, Ordering::Relaxed)) {
                if progress.is_stopped() {
                    // Not complete: whoever waits for this strip's turn is woken. `build` asks again.
                    return Ok(());
                }
                if !write(strip, &mut buffers)? {
                    // Another thread has failed, and tells why.
                    break;
                }
            }
            watch.complete();
            Ok(())
        })?;
    Ok(checksums.finish())
}
