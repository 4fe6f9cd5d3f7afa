//! The element types of GGUF tensors, one row each.

use crate::compute::{Isa, Kernel};

use super::{four_bits, grid_quants, half, k_quants, legacy, one_by_one, plain, ternary};

/// Element type of a GGUF tensor; the discriminant is the number in the file (`ggml_type` in `ggml.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum TensorType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q8_1 = 9,
    Q2K = 10,
    Q3K = 11,
    Q4K = 12,
    Q5K = 13,
    Q6K = 14,
    Q8K = 15,
    Iq2Xxs = 16,
    Iq2Xs = 17,
    Iq3Xxs = 18,
    Iq1S = 19,
    Iq4Nl = 20,
    Iq3S = 21,
    Iq2S = 22,
    Iq4Xs = 23,
    I8 = 24,
    I16 = 25,
    I32 = 26,
    I64 = 27,
    F64 = 28,
    Iq1M = 29,
    Bf16 = 30,
    Tq1_0 = 34,
    Tq2_0 = 35,
    Mxfp4 = 39,
    Nvfp4 = 40,
    Q1_0 = 41,
    Q2_0 = 42,
}

/// How one type is stored.
struct Row {
    kind: TensorType,
    name: &'static str,
    /// Values per block.
    values: usize,
    /// Bytes per block.
    bytes: usize,
    /// Any number of whole blocks to as many values.
    run: fn(Isa, &[u8], &mut [f32]),
}

/// A row whose sizes are those of the block function's arguments.
macro_rules! row {
    ($kind:ident, $name:literal, $values:literal, $bytes:literal, $block:path) => {
        Row {
            kind: TensorType::$kind,
            name: $name,
            values: $values,
            bytes: $bytes,
            run: |isa, blocks, out| {
                isa.run(EachBlock {
                    block: $block,
                    blocks: blocks.as_chunks::<$bytes>().0,
                    outs: out.as_chunks_mut::<$values>().0,
                });
            },
        }
    };
}

const TABLE: [Row; 35] = [
    row!(F32, "F32", 1, 4, plain::f32),
    row!(F16, "F16", 1, 2, half::f16_value),
    row!(Q4_0, "Q4_0", 32, 18, legacy::q4_0),
    row!(Q4_1, "Q4_1", 32, 20, legacy::q4_1),
    row!(Q5_0, "Q5_0", 32, 22, legacy::q5_0),
    row!(Q5_1, "Q5_1", 32, 24, legacy::q5_1),
    row!(Q8_0, "Q8_0", 32, 34, legacy::q8_0),
    row!(Q8_1, "Q8_1", 32, 36, legacy::q8_1),
    row!(Q2K, "Q2_K", 256, 84, k_quants::q2_k),
    row!(Q3K, "Q3_K", 256, 110, k_quants::q3_k),
    row!(Q4K, "Q4_K", 256, 144, k_quants::q4_k),
    row!(Q5K, "Q5_K", 256, 176, k_quants::q5_k),
    row!(Q6K, "Q6_K", 256, 210, k_quants::q6_k),
    row!(Q8K, "Q8_K", 256, 292, k_quants::q8_k),
    row!(Iq2Xxs, "IQ2_XXS", 256, 66, grid_quants::iq2_xxs),
    row!(Iq2Xs, "IQ2_XS", 256, 74, grid_quants::iq2_xs),
    row!(Iq3Xxs, "IQ3_XXS", 256, 98, grid_quants::iq3_xxs),
    row!(Iq1S, "IQ1_S", 256, 50, grid_quants::iq1_s),
    row!(Iq4Nl, "IQ4_NL", 32, 18, four_bits::iq4_nl),
    row!(Iq3S, "IQ3_S", 256, 110, grid_quants::iq3_s),
    row!(Iq2S, "IQ2_S", 256, 82, grid_quants::iq2_s),
    row!(Iq4Xs, "IQ4_XS", 256, 136, four_bits::iq4_xs),
    row!(I8, "I8", 1, 1, plain::i8),
    row!(I16, "I16", 1, 2, plain::i16),
    row!(I32, "I32", 1, 4, plain::i32),
    row!(I64, "I64", 1, 8, plain::i64),
    row!(F64, "F64", 1, 8, plain::f64),
    row!(Iq1M, "IQ1_M", 256, 56, grid_quants::iq1_m),
    row!(Bf16, "BF16", 1, 2, half::bf16_value),
    row!(Tq1_0, "TQ1_0", 256, 54, ternary::tq1_0),
    row!(Tq2_0, "TQ2_0", 256, 66, ternary::tq2_0),
    row!(Mxfp4, "MXFP4", 32, 17, four_bits::mxfp4),
    row!(Nvfp4, "NVFP4", 64, 36, four_bits::nvfp4),
    row!(Q1_0, "Q1_0", 128, 18, ternary::q1_0),
    row!(Q2_0, "Q2_0", 64, 18, ternary::q2_0),
];

/// Numbers that ggml once gave to a type and removed; refused by name.
const UNSUPPORTED: [(u32, &str); 8] = [
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

/// A block function over all blocks, compiled for each instruction set.
struct EachBlock<'a, F, const BYTES: usize, const VALUES: usize> {
    block: F,
    blocks: &'a [[u8; BYTES]],
    outs: &'a mut [[f32; VALUES]],
}

impl<F, const BYTES: usize, const VALUES: usize> Kernel for EachBlock<'_, F, BYTES, VALUES>
where
    F: Fn(&[u8; BYTES], &mut [f32; VALUES]),
{
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (block, out) in self.blocks.iter().zip(self.outs) {
            let block = if VALUES == 1 {
                block
            } else {
                one_by_one(block)
            };
            (self.block)(block, out);
        }
    }
}

impl TensorType {
    pub fn from_id(id: u32) -> Option<Self> {
        Self::all().find(|&kind| kind as u32 == id)
    }

    /// Every type, by number.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|row| row.kind)
    }

    /// The name of a type that the format had once.
    pub fn unsupported_name(id: u32) -> Option<&'static str> {
        UNSUPPORTED
            .iter()
            .find(|(known, _)| *known == id)
            .map(|(_, name)| *name)
    }

    /// All readable types, for sentences.
    pub fn names() -> String {
        TABLE.map(|row| row.name).join(", ")
    }

    pub fn name(self) -> &'static str {
        self.row().name
    }

    pub fn block_values(self) -> usize {
        self.row().values
    }

    pub fn block_bytes(self) -> usize {
        self.row().bytes
    }

    /// Converts whole blocks: `out` has [`block_values`](Self::block_values) values for every
    /// [`block_bytes`](Self::block_bytes) of `blocks`.
    pub fn dequantize(self, blocks: &[u8], out: &mut [f32]) {
        self.dequantize_on(Isa::best(), blocks, out);
    }

    /// The same on one instruction set.
    pub fn dequantize_on(self, isa: Isa, blocks: &[u8], out: &mut [f32]) {
        let row = self.row();
        debug_assert_eq!(blocks.len() / row.bytes, out.len() / row.values);
        (row.run)(isa, blocks, out);
    }

    fn row(self) -> &'static Row {
        static ROWS: [Row; TABLE.len()] = TABLE;
        ROWS.iter()
            .find(|row| row.kind == self)
            .expect("every type has a row")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Number, values and bytes of a block, as `ggml_get_type_traits` gives them.
    const GGML: [(u32, usize, usize); 35] = [
        (0, 1, 4),
        (1, 1, 2),
        (2, 32, 18),
        (3, 32, 20),
        (6, 32, 22),
        (7, 32, 24),
        (8, 32, 34),
        (9, 32, 36),
        (10, 256, 84),
        (11, 256, 110),
        (12, 256, 144),
        (13, 256, 176),
        (14, 256, 210),
        (15, 256, 292),
        (16, 256, 66),
        (17, 256, 74),
        (18, 256, 98),
        (19, 256, 50),
        (20, 32, 18),
        (21, 256, 110),
        (22, 256, 82),
        (23, 256, 136),
        (24, 1, 1),
        (25, 1, 2),
        (26, 1, 4),
        (27, 1, 8),
        (28, 1, 8),
        (29, 256, 56),
        (30, 1, 2),
        (34, 256, 54),
        (35, 256, 66),
        (39, 32, 17),
        (40, 64, 36),
        (41, 128, 18),
        (42, 64, 18),
    ];

    #[test]
    fn the_table_is_that_of_ggml() {
        let row = |kind: TensorType| (kind as u32, kind.block_values(), kind.block_bytes());
        let table: Vec<_> = TensorType::all().map(row).collect();
        assert_eq!(table, GGML);
    }

    #[test]
    fn every_number_is_known_or_refused() {
        for kind in TensorType::all() {
            assert_eq!(TensorType::from_id(kind as u32), Some(kind));
        }
        for id in 0..43 {
            let (known, removed) = (
                TensorType::from_id(id).is_some(),
                TensorType::unsupported_name(id).is_some(),
            );
            assert!(known != removed, "{id}");
        }
        for id in [43, u32::MAX] {
            assert_eq!(TensorType::from_id(id), None);
            assert_eq!(TensorType::unsupported_name(id), None);
        }
        assert_eq!(TensorType::unsupported_name(33), Some("Q4_0_8_8"));
    }

    /// Values as bits, any NaN the same.
    fn bits(isa: Isa, kind: TensorType, blocks: &[u8]) -> Vec<u32> {
        let mut out = vec![0.0; blocks.len() / kind.block_bytes() * kind.block_values()];
        kind.dequantize_on(isa, blocks, &mut out);
        let bits = |value: &f32| {
            if value.is_nan() {
                f32::NAN.to_bits()
            } else {
                value.to_bits()
            }
        };
        out.iter().map(bits).collect()
    }

    #[test]
    fn every_isa_gives_the_bits_of_the_plain_loops() {
        let mut state = 1_u64;
        let mut random = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        for kind in TensorType::all() {
            // Below, at and above the widths of vectors of single values.
            for count in [0, 1, 2, 15, 16, 17, 31, 64, 67] {
                let blocks: Vec<u8> = (0..count * kind.block_bytes()).map(|_| random()).collect();
                let plain = bits(Isa::Portable, kind, &blocks);
                for isa in Isa::all() {
                    assert!(
                        bits(isa, kind, &blocks) == plain,
                        "{}, {count} blocks, {isa}",
                        kind.name()
                    );
                }
            }
        }
    }
}
