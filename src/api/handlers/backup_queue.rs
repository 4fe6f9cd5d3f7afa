//! `GET /v1/queue/backup`: a copy of the queue as it is now, as a tar archive of a state directory: `queue.db` and
//! `files/`. Work goes on meanwhile. For administrators.

use std::fs::File;
use std::io::{self, Write};

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::api::access::Caller;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::queue::backup::Backup;
use crate::queue::{self, Queue};

/// Bytes written at once.
const CHUNK: usize = 64 << 10;
/// Chunks that wait for a slow client. Full: reading waits.
const WAITING_CHUNKS: usize = 4;
/// Of a tar archive: headers and contents begin at multiples of it, and two of them end it.
const BLOCK: u64 = 512;
/// Prompts and answers are for their owner's eyes.
const MODE: u32 = 0o600;

type Chunk = Result<Vec<u8>, io::Error>;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
) -> Result<Response, Refusal> {
    if !caller.is_admin() {
        return Err(Refusal::forbidden(
            "only administrators may back the queue up",
        ));
    }
    let (told, size) = async_channel::bounded(1);
    let (sender, chunks) = async_channel::bounded::<Chunk>(WAITING_CHUNKS);
    let queue = shared.queue.clone();
    // A thread of its own: this takes as long as disk and client do.
    let thread = std::thread::Builder::new().name("woolly-backup".to_owned());
    let started = thread.spawn(move || run(&queue, &told, sender));
    started.map_err(|error| Refusal::failed(format!("no thread for a backup: {error}")))?;
    let size = size.recv().await;
    let size = size.map_err(|_| Refusal::failed("the backup broke off"))??;
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
    ];
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Makes the copy, tells how large its archive is, and sends that.
fn run(
    queue: &Queue,
    told: &async_channel::Sender<Result<u64, Refusal>>,
    sender: async_channel::Sender<Chunk>,
) {
    let made = queue.backup_blocking().and_then(|backup| {
        let size = archive_size(&backup)?;
        Ok((backup, size))
    });
    let (backup, size) = match made {
        Ok(made) => made,
        Err(error) => {
            tracing::warn!("backup failed: {error}");
            _ = told.send_blocking(Err(error.into()));
            return;
        }
    };
    // The error means that the client is gone, here as below.
    if told.send_blocking(Ok(size)).is_err() {
        return;
    }
    let out = io::BufWriter::with_capacity(CHUNK, Chunks(sender.clone()));
    match archive(&backup, out) {
        Ok(()) => tracing::info!(bytes = size, "the queue was backed up"),
        Err(error) => _ = sender.send_blocking(Err(error)),
    }
}

fn archive_size(backup: &Backup) -> Result<u64, queue::Error> {
    let mut size = 2 * BLOCK;
    for (_, path) in &backup.entries {
        let found = std::fs::metadata(path).map_err(|error| queue::Error::File {
            path: path.display().to_string(),
            problem: error.to_string(),
        })?;
        size += BLOCK + found.len().next_multiple_of(BLOCK);
    }
    Ok(size)
}

fn archive(backup: &Backup, out: impl Write) -> io::Result<()> {
    let mut archive = tar::Builder::new(out);
    for (name, path) in &backup.entries {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut header = tar::Header::new_gnu();
        header.set_size(metadata.len());
        header.set_mode(MODE);
        let modified = metadata.modified()?.duration_since(std::time::UNIX_EPOCH);
        header.set_mtime(modified.unwrap_or_default().as_secs());
        archive.append_data(&mut header, name, file)?;
    }
    archive.into_inner()?.flush()
}

/// Sends what is written.
struct Chunks(async_channel::Sender<Chunk>);

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.send_blocking(Ok(bytes.to_vec()));
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
