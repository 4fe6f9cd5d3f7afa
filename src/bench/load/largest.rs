//! The largest synthetic model that is ready within 100 ms, found by trying.

use std::collections::HashMap;
use std::path::Path;

use crate::bench::Error;
use crate::bench::samples::Spread;
use crate::bench::scratch::Scratch;
use crate::cache::{Contents, available_memory};
use crate::config::{self, ModelSource, Preset, Verify};
use crate::tensor::{Element, Elements};
use crate::{model, weights};

use super::Effort;
use super::report::Largest;
use super::warm::served;

const SECONDS: f64 = 0.1;
/// As many as a configuration may have.
const MOST_LAYERS: usize = 1024;

/// Where the weights are.
#[derive(Debug, Clone, Copy)]
enum Storage {
    Memory,
    File(Verify),
}

pub(super) fn measure(scratch: &Scratch, effort: Effort) -> Result<Vec<Largest>, Error> {
    let memory = available_memory().unwrap_or(u64::MAX);
    let disk = free_bytes(&scratch.join("."))?;
    let places = [
        (Storage::Memory, memory / 2),
        (Storage::File(Verify::Header), (disk / 8).min(memory / 4)),
        (Storage::File(Verify::Full), (disk / 8).min(memory / 4)),
    ];
    let search = |(storage, room): (Storage, u64)| {
        one(storage, room.min(effort.room), scratch, effort.turns)
    };
    places.into_iter().map(search).collect()
}

fn one(storage: Storage, room: u64, scratch: &Scratch, turns: usize) -> Result<Largest, Error> {
    let fits = |layers: usize| -> Result<bool, Error> { Ok(size(layers)?.1 <= room) };
    let most = gallop(MOST_LAYERS, fits)?;
    let mut times: HashMap<usize, Spread> = HashMap::new();
    let mut is_fast = |layers: usize| -> Result<bool, Error> {
        let spread = time(storage, layers, scratch, turns)?;
        times.insert(layers, spread);
        Ok(spread.median < SECONDS)
    };
    // A file is written once for each size that is tried, which takes far longer than its start: where time
    // does not limit at all, one file shows it.
    let layers = match storage {
        Storage::File(_) if most > 0 && is_fast(most)? => most,
        _ => gallop(most, is_fast)?,
    };
    let (parameters, bytes) = size(layers)?;
    Ok(Largest {
        storage: match storage {
            Storage::Memory => "memory",
            Storage::File(_) => "file",
        },
        verify: match storage {
            Storage::Memory => None,
            Storage::File(verify) => Some(verify.name()),
        },
        layers,
        parameters,
        bytes,
        seconds: times.get(&layers).copied(),
        limit: if layers == most { "room" } else { "time" },
    })
}

/// The largest number up to `most` for which `holds` holds, 0 without any: doubles until it does not, then
/// halves the gap. What holds for a number must hold for all below it.
fn gallop<E>(most: usize, mut holds: impl FnMut(usize) -> Result<bool, E>) -> Result<usize, E> {
    let (mut good, mut bad) = (0, most + 1);
    let mut next = 1.min(most);
    while good < next && next < bad {
        if holds(next)? {
            good = next;
        } else {
            bad = next;
        }
        next = match bad == most + 1 {
            true => (2 * good).min(most),
            false => good.midpoint(bad),
        };
    }
    Ok(good)
}

/// The sizes of the preset `135m`, but this many layers.
fn sizes(layers: usize) -> config::Synthetic {
    config::Synthetic {
        num_layers: layers,
        ..Preset::M135.sizes()
    }
}

/// Parameters and bytes; no layers are no model.
fn size(layers: usize) -> Result<(u64, u64), Error> {
    if layers == 0 {
        return Ok((0, 0));
    }
    let specs = weights::Synthetic::new(&sizes(layers))?.specs();
    let values = specs
        .iter()
        .filter_map(|spec| spec.stored_len(Element::F32));
    let parameters = specs.iter().map(|spec| (spec.rows * spec.cols) as u64);
    Ok((
        parameters.sum(),
        values
            .map(|values| (values * size_of::<f32>()) as u64)
            .sum(),
    ))
}

/// From the configuration to a model that could answer; a file is there already.
fn time(storage: Storage, layers: usize, scratch: &Scratch, turns: usize) -> Result<Spread, Error> {
    let mut sizes = sizes(layers);
    let verify = match storage {
        Storage::Memory => Verify::Full,
        Storage::File(verify) => verify,
    };
    sizes.persist = matches!(storage, Storage::File(_));
    let cache = config::Cache {
        dir: scratch.join("largest"),
        max_bytes: None,
        verify,
    };
    let model = served(ModelSource::Synthetic(sizes.clone()));
    if sizes.persist {
        weights::open(&model.source, &cache.dir, &())?;
    }
    let seconds: Result<Vec<f64>, Error> = (0..turns)
        .map(|_| {
            Ok(model::load(&model, Elements::default(), &cache, &())?
                .times
                .total
                .as_secs_f64())
        })
        .collect();
    scratch.remove("largest");
    Ok(Spread::of(&seconds?))
}

fn free_bytes(dir: &Path) -> Result<u64, Error> {
    let found = rustix::fs::statvfs(dir).map_err(std::io::Error::from);
    let found = found.map_err(Error::file("ask for the free room of", dir))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn the_largest_is_found_with_few_tries() {
        for most in [0, 1, 2, 3, 10, 100, 1024] {
            for largest in [0, 1, 2, 3, 5, 16, 17, 99, 100, 2000] {
                let mut tries = vec![];
                let Ok(found) = gallop(most, |number| {
                    tries.push(number);
                    Ok::<_, Infallible>(number <= largest)
                });
                assert_eq!(found, largest.min(most), "{most}");
                assert!(tries.len() <= 21, "{tries:?}");
                assert!(tries.iter().all(|number| (1..=most).contains(number)));
                let distinct: std::collections::HashSet<_> = tries.iter().collect();
                assert_eq!(distinct.len(), tries.len(), "{tries:?}");
            }
        }
    }

    #[test]
    fn sizes_are_those_of_the_preset() {
        assert_eq!(size(30).unwrap(), (134_515_008, 4 * 134_515_008));
        assert_eq!(size(0).unwrap(), (0, 0));
    }
}
