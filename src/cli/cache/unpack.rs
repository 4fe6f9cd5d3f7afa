//! `woollyctl cache unpack`: a cache file as a plain file that other tools load.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cache::MappedTensors;
use crate::cli::interrupt::Interrupt;
use crate::cli::new_file::NewFile;
use crate::cli::progress::Conversion;
use crate::cli::{Error, render};
use crate::config;
use crate::tensor::Element;
use crate::weights::Metadata;
use crate::weights::unpack::{Failure, Form, unpack};

use super::place::Place;
use super::{failed, model, subject};

/// Bytes that go to the output at once.
const BUFFER: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Row-major F32 tensors under their own names
    Safetensors,
    /// An F32 GGUF file with the metadata of the model
    Gguf,
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  woollyctl cache unpack models/smollm2.gguf -o smollm2.safetensors
  woollyctl cache unpack models/smollm2.gguf -o smollm2-f32.gguf --format gguf
  woollyctl cache unpack 3b7e -o weights.gguf --format gguf --model models/smollm2.gguf

A model that has no cache file yet is converted first.")]
pub(in crate::cli) struct Unpack {
    /// A cache file, the beginning of its name in the cache directory, or the model it was made from
    #[arg(value_name = "FILE|NAME|MODEL")]
    subject: PathBuf,

    /// The file to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,

    /// What to write
    #[arg(long, value_enum, default_value_t = Format::Safetensors)]
    format: Format,

    /// The model that a cache file was made from, for the metadata of a GGUF file
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,

    /// Replace the output if it is there
    #[arg(long)]
    force: bool,

    #[command(flatten)]
    place: Place,
}

pub(super) fn run(args: &Unpack, json: bool) -> Result<(), Error> {
    let start = Instant::now();
    let output = args.output.display();
    if !args.force && args.output.symlink_metadata().is_ok() {
        return Err(Error::Failed(format!(
            "{output} is there already; --force replaces it"
        )));
    }
    let interrupt = Interrupt::install()?;
    let (path, metadata) = find(args, &args.place.cache()?, &interrupt)?;
    let tensors = MappedTensors::open(&path, None).map_err(failed)?;
    let form = match &metadata {
        Some(metadata) if args.format == Format::Gguf => Form::Gguf(metadata),
        _ => Form::Safetensors,
    };

    let file = NewFile::create(&args.output)?;
    let progress = Conversion::of(Path::new(&output.to_string())).until(&interrupt);
    let bytes = write(&tensors, form, file, args.force, &progress)?;
    let seconds = start.elapsed().as_secs_f64();
    let mut out = io::stdout().lock();
    if json {
        let answer = json!({
            "file": path.display().to_string(),
            "output": output.to_string(),
            "format": args.format.to_possible_value().map(|value| value.get_name().to_owned()),
            "tensors": tensors.specs().len(),
            "bytes": bytes,
            "seconds": seconds,
        });
        render::json_line(&mut out, &answer)?;
    } else {
        let size = render::bytes(bytes);
        writeln!(out, "{output} is written: {size} ({seconds:.2} s)")?;
    }
    Ok(())
}

/// The cache file, and the metadata of its model where the format needs it.
fn find(
    args: &Unpack,
    cache: &config::Cache,
    interrupt: &Interrupt,
) -> Result<(PathBuf, Option<Arc<Metadata>>), Error> {
    if subject::is_model(&args.subject) {
        let loaded = model::convert(&args.subject, Element::F32, cache, interrupt)?;
        let path = model::cache_file(&loaded, cache);
        return Ok((path, Some(loaded.metadata)));
    }
    let path = subject::cache_file(&args.subject, &cache.dir)?;
    let metadata = match (args.format, &args.model) {
        (Format::Safetensors, _) => None,
        (Format::Gguf, Some(model)) => Some(metadata(&path, model)?),
        (Format::Gguf, None) => {
            return Err(Error::Usage(
                "a cache file does not hold what a GGUF file needs besides tensors; name the model with \
                 --model FILE"
                    .to_owned(),
            ));
        }
    };
    Ok((path, metadata))
}

/// The metadata of `model`, which the cache file at `path` must have been made from.
fn metadata(path: &Path, model: &Path) -> Result<Arc<Metadata>, Error> {
    let element = crate::cache::element_of(path).unwrap_or_default();
    let origin = model::origin(model, element)?;
    MappedTensors::open(path, Some(&origin.key)).map_err(failed)?;
    Ok(Arc::new(origin.metadata))
}

/// Writes the file and gives it its name; the number of its bytes.
fn write(
    tensors: &MappedTensors,
    form: Form,
    file: NewFile,
    force: bool,
    progress: &Conversion,
) -> Result<u64, Error> {
    let mut file = BufWriter::with_capacity(BUFFER, file);
    let written = unpack(tensors, form, &mut file, progress)
        .and_then(|bytes| Ok(file.flush().map(|()| bytes)?));
    // Without the buffer's own attempt to write what is left when it is dropped.
    let (file, _) = file.into_parts();
    match written {
        Ok(bytes) => file.publish(force).map(|()| bytes),
        Err(Failure::Write(problem)) => Err(file.failed(&problem)),
        Err(Failure::Cache(problem)) => Err(failed(problem)),
    }
}
