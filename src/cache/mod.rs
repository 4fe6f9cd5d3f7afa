//! Named FP32 tensors in one safetensors file: built once under an opaque fingerprint, then mapped.
//!
//! - `format`: the layout of the file, its plan and its header; `read` and `members` read it back.
//! - `fingerprint`: what a source file is, known without reading it again at each start; `source`: one
//!   or several such files as the origin of one cache file.
//! - `strip`: tensors cut into pieces that threads fill independently; `checksums` takes these in order.
//! - `writer`: temporary file, parallel fill, checksums, fsync, publication.
//! - [`mapped`] and `memory`: tensors by name in a mapped file or in anonymous memory; `available`: how
//!   much memory there is for them.
//! - `directory`: finding and building cache files; one builder at a time. `quarantine`: damaged ones.
//! - `names`: which files of a directory are the cache's own.
//! - `place` and `trust`: opening what lies there, unless another user could have put it there.
//! - [`fault`]: what happens when a page of a mapped file cannot be read.
//! - `survey`: everything that lies in a directory; `prune`: what of it goes; `room`: what goes for a new file.
//!
//! Locks, temporary files and records live in the same directory as the cache files.
//!
//! A damaged or foreign file is refused with the reason and built again; a failed build leaves
//! nothing behind.
//!
//! Invariant: knows nothing of GGUF, quantization or transformers.

mod available;
mod checksums;
mod contents;
mod directory;
mod error;
pub mod fault;
mod fingerprint;
mod format;
mod lock;
pub mod mapped;
mod members;
mod memory;
mod names;
mod place;
mod prune;
mod quarantine;
mod read;
mod room;
mod source;
mod strip;
mod survey;
mod temporary;
mod trust;
mod window;
mod writer;

pub use available::available_memory;
pub use contents::{COLUMN_STEP, Contents, Part, Progress, Work};
pub use directory::{Check, Directory, Found};
pub use error::{Error, Problem};
pub use fingerprint::Identity;
pub use format::{FORMAT_VERSION, Key, layout_name};
pub use mapped::{MappedFile, MappedTensors};
pub use members::Members;
pub use memory::MemoryTensors;
pub use names::{element_of, is_cache_file_name, source_of};
pub use place::{open_regular, trust_directory};
pub use prune::{Limits, Reason, prunable};
pub use read::inspect;
pub use source::Source;
pub use survey::{Item, Kind, SourceState, Summary};
pub use trust::Distrust;
