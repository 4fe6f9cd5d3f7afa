//! Synthetic weights against storing one value in as many bytes, both with all threads.

use crate::bench::Error;
use crate::bench::samples::{Spread, Turns, core_seconds, timed};
use crate::cache::{Contents, MemoryTensors};
use crate::config::Preset;
use crate::tensor::Element;
use crate::weights::Synthetic;

use super::Effort;
use super::fill::Plain;
use super::report::Generation;

pub(super) fn measure(effort: Effort) -> Result<Vec<Generation>, Error> {
    let mut sizes = Preset::M135.sizes();
    sizes.num_layers = effort.layers.unwrap_or(sizes.num_layers);
    let weights = Synthetic::new(&sizes)?;
    let mut ours = MemoryTensors::fill(&weights, Element::F32, &())?;
    let bytes = ours.value_bytes();
    let plain = Plain { bytes };
    let mut yardstick = MemoryTensors::fill(&plain, Element::F32, &())?;

    let touched = row(
        ("touched", bytes),
        effort.turns,
        || Ok(clocks(|| ours.refill(&weights, &()))),
        || Ok(clocks(|| yardstick.refill(&plain, &()))),
    )?;
    drop((ours, yardstick));
    // What was allocated goes back after the clocks have stopped.
    let fill = |contents: &dyn Contents| -> Result<Clocks, Error> {
        let mut tensors = None;
        let clocks = clocks(|| tensors = Some(MemoryTensors::fill(contents, Element::F32, &())));
        tensors.transpose()?;
        Ok(clocks)
    };
    let fresh = row(
        ("fresh", bytes),
        effort.turns,
        || fill(&weights),
        || fill(&plain),
    )?;
    Ok(vec![fresh, touched])
}

/// Seconds on the wall's clock, and those that all cores were busy.
struct Clocks {
    wall: f64,
    cores: f64,
}

fn clocks(work: impl FnOnce()) -> Clocks {
    let start = core_seconds();
    let ((), wall) = timed(work);
    let cores = core_seconds() - start;
    Clocks { wall, cores }
}

fn row(
    (memory, bytes): (&'static str, u64),
    turns: usize,
    mut ours: impl FnMut() -> Result<Clocks, Error>,
    mut yardstick: impl FnMut() -> Result<Clocks, Error>,
) -> Result<Generation, Error> {
    let mut cores = Turns {
        ours: vec![],
        yardstick: vec![],
    };
    let wall = Turns::take(
        turns,
        || {
            let Clocks { wall, cores: busy } = ours()?;
            cores.ours.push(busy);
            Ok::<_, Error>(wall)
        },
        || {
            let Clocks { wall, cores: busy } = yardstick()?;
            cores.yardstick.push(busy);
            Ok(wall)
        },
    )?;
    let speed = |seconds: &[f64]| Spread::gigabytes_per_second(seconds, bytes as usize);
    Ok(Generation {
        memory,
        bytes,
        gigabytes_per_second: speed(&wall.ours),
        fill_gigabytes_per_second: speed(&wall.yardstick),
        times_fill: wall.ratio(),
        core_times_fill: cores.ratio(),
    })
}
