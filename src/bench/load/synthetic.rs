//! Synthetic weights against storing one value in as many bytes, both with all threads.

use crate::bench::Error;
use crate::bench::samples::{Spread, Turns, timed};
use crate::cache::MemoryTensors;
use crate::config::Preset;
use crate::weights::Synthetic;

use super::Effort;
use super::fill::Plain;
use super::report::Generation;

pub(super) fn measure(effort: Effort) -> Result<Vec<Generation>, Error> {
    let mut sizes = Preset::M135.sizes();
    sizes.num_layers = effort.layers.unwrap_or(sizes.num_layers);
    let weights = Synthetic::new(&sizes)?;
    let mut ours = MemoryTensors::fill(&weights, &())?;
    let bytes = ours.value_bytes();
    let plain = Plain { bytes };
    let mut yardstick = MemoryTensors::fill(&plain, &())?;

    let touched = Turns::take(
        effort.turns,
        || Ok::<_, Error>(timed(|| ours.refill(&weights, &())).1),
        || Ok(timed(|| yardstick.refill(&plain, &())).1),
    )?;
    drop((ours, yardstick));
    // What was allocated goes back after the clock has stopped.
    let fresh = |contents| -> Result<f64, Error> {
        let (tensors, seconds) = timed(|| MemoryTensors::fill(contents, &()));
        drop(tensors?);
        Ok(seconds)
    };
    let fresh = Turns::take(effort.turns, || fresh(&weights), || fresh(&plain))?;
    let row = |memory, turns: &Turns| Generation {
        memory,
        bytes,
        gigabytes_per_second: Spread::gigabytes_per_second(&turns.ours, bytes as usize),
        fill_gigabytes_per_second: Spread::gigabytes_per_second(&turns.yardstick, bytes as usize),
        times_fill: turns.ratio(),
    };
    Ok(vec![row("fresh", &fresh), row("touched", &touched)])
}
