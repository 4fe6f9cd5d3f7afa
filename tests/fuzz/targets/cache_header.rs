//! The header of a cache file, as it stands and with its length and checksum made right.
#![no_main]

use libfuzzer_sys::fuzz_target;
use woolly::cache;
use woolly_fuzz::sealed;

fuzz_target!(|bytes: &[u8]| {
    let _ = cache::inspect(bytes);
    let _ = cache::inspect(&sealed(bytes));
});
