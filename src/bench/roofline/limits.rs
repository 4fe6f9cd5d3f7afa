//! Reading, multiplying, meeting, and taking fresh memory, each by itself.

use std::hint::black_box;

use memmap2::{Advice, MmapMut};

use crate::bench::Error;
use crate::bench::samples::{Spread, timed};
use crate::compute::{Isa, Kernel, Team, peak};

use super::Effort;
use super::report::Limits;

/// Values that a thread reads at once: 1 MiB, long enough that taking it costs nothing.
const PIECE: usize = (1 << 20) / size_of::<f32>();
/// Bytes of a page without the help of huge ones.
const PAGE: usize = 4096;

pub(super) fn measure(threads: usize, effort: Effort) -> Result<Limits, Error> {
    let team = Team::new("woolly-roofline", threads).map_err(Error::system("start a thread"))?;
    let Effort {
        turns,
        values,
        phases: phase_count,
        rounds,
    } = effort;
    let mut memory = readable(values)?;
    let bytes = memory.len() as f64;
    let read = spread(turns, || read_rate(&team, &mut memory) / 1e9);
    drop(memory);
    let multiply = spread(turns, || multiply_rate(&team, Isa::best(), rounds) / 1e9);
    let mut slots = vec![0u64; threads];
    let phases = per_second(turns, phase_count as f64, || {
        let work = || {
            for _ in 0..phase_count {
                team.chunks(&mut slots, 1, |_, slot| slot[0] += 1);
            }
        };
        timed(|| team.step(work)).1
    });

    let fresh = per_second(turns, bytes / 1e9, || {
        // Zeros that nobody has touched come from the system without a page behind them.
        let mut memory = vec![0u8; values * size_of::<f32>()];
        let touch = |_: usize, piece: &mut [u8]| {
            piece.iter_mut().step_by(PAGE).for_each(|byte| *byte = 1);
        };
        let piece = PIECE * size_of::<f32>();
        let ((), seconds) = timed(|| team.step(|| team.chunks(&mut memory, piece, touch)));
        black_box(&memory);
        seconds
    });
    Ok(Limits {
        threads,
        read_gigabytes_per_second: read,
        gigaflops: multiply,
        phases_per_second: phases,
        fresh_gigabytes_per_second: fresh,
    })
}

/// Memory for so many FP32 values to be read, touched, on large pages where the system has them: on small ones the
/// meter read a fifth less than weights on large ones were computed with.
pub(in crate::bench) fn readable(values: usize) -> Result<MmapMut, Error> {
    let mut memory =
        MmapMut::map_anon(values * size_of::<f32>()).map_err(Error::system("take memory"))?;
    let _ = memory.advise(Advice::HugePage);
    bytemuck::cast_slice_mut(&mut memory).fill(1.0f32);
    Ok(memory)
}

/// Bytes per second at which a team reads `memory`, once.
pub(in crate::bench) fn read_rate(team: &Team, memory: &mut MmapMut) -> f64 {
    let memory: &mut [f32] = bytemuck::cast_slice_mut(memory);
    let bytes = size_of_val(memory) as f64;
    let work = || team.chunks(memory, PIECE, |_, piece| read(piece));
    bytes / timed(|| team.step(work)).1
}

/// Floating-point operations per second that all threads of a team do in registers.
pub(in crate::bench) fn multiply_rate(team: &Team, isa: Isa, rounds: usize) -> f64 {
    let mut done = vec![0u64; team.threads()];
    let work = || {
        team.chunks(&mut done, 1, |_, done| {
            done[0] = peak::fused_multiply_adds(isa, rounds);
        });
    };
    let ((), seconds) = timed(|| team.step(work));
    done.iter().sum::<u64>() as f64 / seconds
}

/// How often `amount` was done in a second. A turn says how many seconds it took.
fn per_second(turns: usize, amount: f64, mut turn: impl FnMut() -> f64) -> Spread {
    spread(turns, || amount / turn())
}

/// Of several rates; the first, for which threads are woken and pages touched, does not count.
fn spread(turns: usize, mut rate: impl FnMut() -> f64) -> Spread {
    rate();
    Spread::of(&(0..turns).map(|_| rate()).collect::<Vec<_>>())
}

/// Loads every value. The bits are joined by `or`, whose order is free: the compiler takes the widest loads
/// and enough of them at once.
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = u32;

    #[inline(always)]
    fn run(self) -> u32 {
        let mut bits = 0;
        for value in self.0 {
            bits |= value.to_bits();
        }
        bits
    }
}

fn read(piece: &[f32]) {
    black_box(Isa::best().run(Read(piece)));
}
