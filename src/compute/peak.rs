//! The rate of fused multiply-adds without memory: what no kernel of this machine can exceed.
//!
//! Invariant: a yardstick. It shares no code with the kernels that are measured against it.

use std::hint::black_box;

use super::Isa;

/// Runs `rounds` rounds of independent chains that live in registers, on the calling thread. The number of
/// floating-point operations, two for each multiply-add.
pub fn fused_multiply_adds(isa: Isa, rounds: usize) -> u64 {
    let (sum, per_round) = chains(isa, rounds);
    black_box(sum);
    2 * rounds as u64 * per_round as u64
}

/// The sum of all chains, and how many values go through one round.
fn chains(isa: Isa, rounds: usize) -> (f32, usize) {
    match isa {
        Isa::Portable => portable(rounds),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2(token) => token.chains(rounds),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512(token) => token.chains(rounds),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon(token) => token.chains(rounds),
    }
}

/// Factor and summand of the chains: values that stay normal, and that the compiler does not know.
pub(super) fn operands() -> (f32, f32) {
    (black_box(0.999), black_box(0.001))
}

fn portable(rounds: usize) -> (f32, usize) {
    let (factor, summand) = operands();
    let mut chains = [0.0f32; 8];
    for _ in 0..rounds {
        for chain in &mut chains {
            *chain = chain.mul_add(factor, summand);
        }
    }
    (chains.iter().sum(), chains.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_counted_for_every_isa() {
        for isa in Isa::all() {
            let per_round = fused_multiply_adds(isa, 1);
            assert!(per_round >= 16, "{isa}: {per_round}");
            assert_eq!(fused_multiply_adds(isa, 100), 100 * per_round);
        }
    }

    #[test]
    fn every_isa_runs_the_same_chain() {
        let (factor, summand) = operands();
        let chain = (0..7).fold(0.0f32, |chain, _| chain.mul_add(factor, summand));
        let (sum, count) = portable(7);
        assert_eq!(sum, (0..count).map(|_| chain).sum::<f32>());
        for isa in Isa::all() {
            let (sum, chains) = chains(isa, 7);
            let mean = f64::from(sum) / chains as f64;
            assert!(
                (mean - f64::from(chain)).abs() < 1e-7,
                "{isa}: {mean} {chain}"
            );
        }
    }
}
