//! The element types of GGUF tensors that can be read, one row each.

use super::{half, k_quants, legacy};

/// Element type of a GGUF tensor; the discriminant is the number in the file (`ggml_type` in `ggml.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum TensorType {
    F32 = 0,
    F16 = 1,
    Q4_0 = 2,
    Q4_1 = 3,
    Q5_0 = 6,
    Q5_1 = 7,
    Q8_0 = 8,
    Q4K = 12,
    Q6K = 14,
    Bf16 = 30,
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
    run: fn(&[u8], &mut [f32]),
}

/// A row whose sizes are those of the block function's arguments.
macro_rules! row {
    ($kind:ident, $name:literal, $values:literal, $bytes:literal, $block:path) => {
        Row {
            kind: TensorType::$kind,
            name: $name,
            values: $values,
            bytes: $bytes,
            run: |blocks, out| {
                let (blocks, _) = blocks.as_chunks::<$bytes>();
                let (outs, _) = out.as_chunks_mut::<$values>();
                for (block, out) in blocks.iter().zip(outs) {
                    $block(block, out);
                }
            },
        }
    };
}

const TABLE: [Row; 10] = [
    row!(F32, "F32", 1, 4, half::f32),
    Row {
        kind: TensorType::F16,
        name: "F16",
        values: 1,
        bytes: 2,
        run: half::f16,
    },
    row!(Bf16, "BF16", 1, 2, half::bf16),
    row!(Q4_0, "Q4_0", 32, 18, legacy::q4_0),
    row!(Q4_1, "Q4_1", 32, 20, legacy::q4_1),
    row!(Q5_0, "Q5_0", 32, 22, legacy::q5_0),
    row!(Q5_1, "Q5_1", 32, 24, legacy::q5_1),
    row!(Q8_0, "Q8_0", 32, 34, legacy::q8_0),
    row!(Q4K, "Q4_K", 256, 144, k_quants::q4_k),
    row!(Q6K, "Q6_K", 256, 210, k_quants::q6_k),
];

/// Types of the format that are refused by name.
const UNSUPPORTED: [(u32, &str); 25] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (13, "Q5_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (25, "I16"),
    (26, "I32"),
    (27, "I64"),
    (28, "F64"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
    (40, "NVFP4"),
    (41, "Q1_0"),
    (42, "Q2_0"),
];

impl TensorType {
    pub fn from_id(id: u32) -> Option<Self> {
        TABLE
            .iter()
            .map(|row| row.kind)
            .find(|&kind| kind as u32 == id)
    }

    /// The name of a type that the format has and this reader has not.
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
        debug_assert_eq!(
            blocks.len() / self.block_bytes(),
            out.len() / self.block_values()
        );
        (self.row().run)(blocks, out);
    }

    fn row(self) -> &'static Row {
        const ROWS: &[Row] = &TABLE;
        ROWS.iter()
            .find(|row| row.kind == self)
            .expect("every type has a row")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_names_one_type() {
        for row in &TABLE {
            assert_eq!(TensorType::from_id(row.kind as u32), Some(row.kind));
            assert_eq!(TensorType::unsupported_name(row.kind as u32), None);
        }
        assert_eq!(TensorType::from_id(4), None);
        assert_eq!(TensorType::unsupported_name(13), Some("Q5_K"));
        assert_eq!(TensorType::unsupported_name(4), None);
    }
}
