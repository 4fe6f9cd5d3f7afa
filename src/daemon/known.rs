//! What of a job's output is known before it runs: that of an equal job, or of an earlier run.
//!
//! Invariant: without it a job runs, as any other; nothing here can fail it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::engine::Task;
use crate::job::{JobId, Spec};
use crate::queue::{Queue, Transcript};

use super::transcript::{self, Entry};

/// Everything that an equal job of this user generated which has completed.
pub(super) fn of_equal(
    queue: &Queue,
    id: JobId,
    fingerprint: [u8; 32],
    uid: u32,
) -> Option<Vec<Entry>> {
    let found = queue.read_blocking(move |reader| reader.transcript(&fingerprint, uid));
    let events = transcript::decode(&found.ok()??.parts)?;
    tracing::info!(job = %id, "job is answered with the result of an equal one");
    Some(events)
}

/// What the job generated before this daemon, as far as it can go on behind it.
pub(super) fn of_earlier_run(
    queue: &Queue,
    id: JobId,
    sequences: usize,
    fingerprint: &[u8; 32],
    transcript: Option<Transcript>,
) -> Vec<Entry> {
    let Some(transcript) = transcript else {
        return vec![];
    };
    let is_its_own = transcript.fingerprint == *fingerprint;
    let events = is_its_own.then(|| transcript::decode(&transcript.parts));
    let Some(events) = events.flatten() else {
        tracing::info!(job = %id, "job starts anew: the model or its settings have changed");
        queue.live().restart(id);
        return vec![];
    };
    let events = transcript::to_go_on(events, sequences);
    tracing::info!(job = %id, events = events.len(), "job goes on behind what it had generated");
    events
}

/// Tasks of the sequences that are not over, to go on behind what is `known` of them.
pub(super) fn tasks(
    job: JobId,
    priority: i32,
    spec: &Spec,
    cancelled: &Arc<AtomicBool>,
    known: &[Entry],
) -> Vec<Task> {
    let params = Arc::new(spec.params.clone());
    let sequences = spec.sequences.iter().enumerate();
    sequences
        .filter(|(sequence, _)| !transcript::is_finished(known, *sequence))
        .map(|(sequence, prompt)| Task {
            job,
            sequence,
            prompt: prompt.prompt.as_slice().into(),
            generated: transcript::ids(known, sequence).into(),
            priority,
            score_prompt: spec.scores_prompts(),
            params: Arc::clone(&params),
            cancelled: Arc::clone(cancelled),
        })
        .collect()
}
