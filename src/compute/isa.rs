//! Which instruction set runs. An [`Isa`] is a proof: it can only be made where the CPU has the
//! feature, so that calling a kernel through it needs no further check.

use std::fmt;

#[cfg(target_arch = "aarch64")]
use super::aarch64::Neon;
#[cfg(target_arch = "x86_64")]
use super::x86::{Avx2, Avx512};

/// An instruction set that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// Plain Rust; the oracle. Slow, because `mul_add` becomes a function call.
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
}

/// A piece of work compiled once per instruction set. `run` must be `#[inline(always)]`: only then
/// its body is compiled with the features of the set it is entered through.
pub trait Kernel {
    type Output;

    fn run(self) -> Self::Output;
}

/// The name is not an instruction set, or the machine does not have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("isa \"{asked}\" is not available on this machine, which has {}", available.join(", "))]
pub struct UnknownIsa {
    pub asked: String,
    pub available: Vec<&'static str>,
}

impl Isa {
    /// The instruction sets of this machine, plainest first.
    pub fn all() -> Vec<Isa> {
        let mut all = vec![Isa::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(Avx2::detect().map(Isa::Avx2));
            all.extend(Avx512::detect().map(Isa::Avx512));
        }
        #[cfg(target_arch = "aarch64")]
        all.extend(Neon::detect().map(Isa::Neon));
        all
    }

    /// The best one.
    pub fn best() -> Isa {
        // By hand rather than the last of `all`: it is asked for often, and must not allocate.
        #[cfg(target_arch = "x86_64")]
        if let Some(isa) = Avx512::detect().map(Isa::Avx512) {
            return isa;
        } else if let Some(isa) = Avx2::detect().map(Isa::Avx2) {
            return isa;
        }
        #[cfg(target_arch = "aarch64")]
        if let Some(isa) = Neon::detect().map(Isa::Neon) {
            return isa;
        }
        Isa::Portable
    }

    /// By the name used in the configuration: `auto`, `portable`, `avx2`, `avx512`, `neon`.
    pub fn by_name(name: &str) -> Result<Isa, UnknownIsa> {
        if name == "auto" {
            return Ok(Self::best());
        }
        Self::all()
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| UnknownIsa {
                asked: name.to_owned(),
                available: Self::all().into_iter().map(Isa::name).collect(),
            })
    }

    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
        }
    }

    /// Runs `kernel` compiled for this instruction set.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            Isa::Portable => kernel.run(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => token.run(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => token.run(kernel),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(token) => token.run(kernel),
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_isa() {
        for isa in Isa::all() {
            assert_eq!(Isa::by_name(isa.name()), Ok(isa));
        }
        assert_eq!(Isa::by_name("auto"), Ok(Isa::best()));
        assert_eq!(Isa::all().last(), Some(&Isa::best()));
    }

    #[test]
    fn an_unknown_name_lists_what_there_is() {
        let error = Isa::by_name("sse9").unwrap_err();
        assert_eq!(error.asked, "sse9");
        assert!(error.to_string().contains("\"sse9\"") && error.to_string().contains("portable"));
    }
}
