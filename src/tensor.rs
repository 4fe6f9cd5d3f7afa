//! The words for weights in memory, shared by the cache, the weight sources and the model.
//!
//! Invariant: nothing here touches files or threads.

/// Rows in one panel: 16 FP32 values, or 16 pairs of BF16 values, are one 64-byte cache line.
pub const PANEL_ROWS: usize = 16;

/// Number type of stored values. All arithmetic is FP32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Element {
    #[default]
    F32,
    /// The upper half of an FP32 value, rounded to the nearest, ties to even.
    Bf16,
}

impl Element {
    pub const ALL: [Element; 2] = [Element::F32, Element::Bf16];

    /// As in the configuration, in file names and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Element::F32 => "f32",
            Element::Bf16 => "bf16",
        }
    }

    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::Bf16 => 2,
        }
    }

    /// Columns of a panel that share one 64-byte line. A panel is stored with whole lines, missing columns as zeros:
    /// BF16 as `[ceil(cols / 2)][16][2]`.
    pub fn line_columns(self) -> usize {
        match self {
            Element::F32 => 1,
            Element::Bf16 => 2,
        }
    }

    /// Values of one panel over `cols` columns, those that fill its last line included. `None` when the count
    /// overflows.
    pub fn panel_len(self, cols: usize) -> Option<usize> {
        let cols = cols.checked_next_multiple_of(self.line_columns())?;
        cols.checked_mul(PANEL_ROWS)
    }
}

impl std::str::FromStr for Element {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Element::ALL.into_iter().find(|e| e.name() == name);
        found.ok_or_else(|| "expected f32 or bf16".to_owned())
    }
}

/// Number types of one model's weights and of its keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Elements {
    pub weights: Element,
    pub kv: Element,
}

/// The BF16 value nearest to `value`, ties to even; NaN stays NaN.
pub fn narrow(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = if value.is_nan() {
        bits | 0x40_0000
    } else {
        bits + 0x7fff + (bits >> 16 & 1)
    };
    (rounded >> 16) as u16
}

/// The FP32 value of a BF16 value.
pub fn widen(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// Stored values, borrowed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    F32(&'a [f32]),
    /// See [`widen`].
    Bf16(&'a [u16]),
}

impl<'a> Values<'a> {
    /// `bytes` as values of type `element`.
    ///
    /// # Panics
    /// When they are not aligned for it, or not a whole number of values.
    pub fn of(element: Element, bytes: &'a [u8]) -> Self {
        match element {
            Element::F32 => Values::F32(bytemuck::cast_slice(bytes)),
            Element::Bf16 => Values::Bf16(bytemuck::cast_slice(bytes)),
        }
    }

    pub fn element(self) -> Element {
        match self {
            Values::F32(_) => Element::F32,
            Values::Bf16(_) => Element::Bf16,
        }
    }

    pub fn len(self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::Bf16(values) => values.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Bytes that they take.
    pub fn bytes(self) -> usize {
        self.len() * self.element().bytes()
    }

    /// Copies all of them to `out`, as FP32.
    ///
    /// # Panics
    /// When `out` is not as long.
    pub fn copy_to(self, out: &mut [f32]) {
        match self {
            Values::F32(values) => out.copy_from_slice(values),
            Values::Bf16(values) => {
                assert_eq!(values.len(), out.len());
                for (out, &bits) in out.iter_mut().zip(values) {
                    *out = widen(bits);
                }
            }
        }
    }

    /// Values `start..start + len`.
    ///
    /// # Panics
    /// When there are not so many.
    pub fn part(self, start: usize, len: usize) -> Self {
        match self {
            Values::F32(values) => Values::F32(&values[start..start + len]),
            Values::Bf16(values) => Values::Bf16(&values[start..start + len]),
        }
    }

    /// Where they begin in memory, for fetching them into a cache.
    pub fn address(self) -> *const u8 {
        match self {
            Values::F32(values) => values.as_ptr().cast(),
            Values::Bf16(values) => values.as_ptr().cast(),
        }
    }

    /// The FP32 values, when they are.
    pub fn f32(self) -> Option<&'a [f32]> {
        match self {
            Values::F32(values) => Some(values),
            Values::Bf16(_) => None,
        }
    }

    /// Column `col` of a panel that these values are.
    pub fn column(self, col: usize) -> [f32; PANEL_ROWS] {
        match self {
            Values::F32(values) => {
                let line = values[col * PANEL_ROWS..].first_chunk();
                *line.expect("a panel has whole columns")
            }
            Values::Bf16(values) => {
                let pairs = &values[col / 2 * 2 * PANEL_ROWS..][..2 * PANEL_ROWS];
                std::array::from_fn(|row| widen(pairs[2 * row + col % 2]))
            }
        }
    }

    /// The value of row `row` and column `col` of a panel.
    pub fn in_panel(self, row: usize, col: usize) -> f32 {
        match self {
            Values::F32(values) => values[col * PANEL_ROWS + row],
            Values::Bf16(values) => widen(values[pair_index(row, col)]),
        }
    }
}

/// Where the value of row `row` (of 16) and column `col` stands in a BF16 panel.
pub fn pair_index(row: usize, col: usize) -> usize {
    (col / 2 * PANEL_ROWS + row) * 2 + col % 2
}

/// How the values of one tensor lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// A matrix as `[ceil(rows / 16), cols, 16]`: panel p holds rows 16p..16p+15, padded with zeros. In BF16
    /// `[ceil(rows / 16), ceil(cols / 2), 16, 2]`.
    Panels,
    /// A matrix as `[rows, cols]`, for tables of which only rows are looked up.
    Rows,
    /// `[cols]`; `rows` is 1.
    Vector,
}

/// Name, layout and size of one weight tensor; `cols` is the dimension that is summed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    pub name: String,
    pub layout: Layout,
    pub rows: usize,
    pub cols: usize,
}

impl TensorSpec {
    /// The number type of its values where matrices have the type `matrices`: vectors are few, and stay FP32.
    pub fn element(&self, matrices: Element) -> Element {
        match self.layout {
            Layout::Panels | Layout::Rows => matrices,
            Layout::Vector => Element::F32,
        }
    }

    /// Stored values where matrices have the type `matrices`, panel padding included. `None` when the count
    /// overflows.
    pub fn stored_len(&self, matrices: Element) -> Option<usize> {
        match self.layout {
            Layout::Panels => {
                let len = self.element(matrices).panel_len(self.cols)?;
                self.rows.div_ceil(PANEL_ROWS).checked_mul(len)
            }
            Layout::Rows | Layout::Vector => self.rows.checked_mul(self.cols),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_as_another_library_rounds_them() {
        let mut bits = 0u32;
        loop {
            let value = f32::from_bits(bits);
            let expected = half::bf16::from_f32(value);
            let found = half::bf16::from_bits(narrow(value));
            assert!(found.to_bits() == expected.to_bits(), "{bits:#x}");
            assert_eq!(
                widen(narrow(value)).to_bits(),
                expected.to_f32().to_bits(),
                "{bits:#x}"
            );
            // Steps of a prime number: all exponents, and lower halves of every kind.
            match bits.checked_add(10_007) {
                Some(next) => bits = next,
                None => break,
            }
        }
        for (low, rounded) in [(0x7fff, 0x3f80), (0x8000, 0x3f80), (0x8001, 0x3f81)] {
            assert_eq!(narrow(f32::from_bits(0x3f80_0000 | low)), rounded);
        }
        assert_eq!(narrow(f32::from_bits(0x3f81_8000)), 0x3f82);
    }

    #[test]
    fn panels_of_pairs_pad_an_odd_column() {
        let spec = TensorSpec {
            name: "t".into(),
            layout: Layout::Panels,
            rows: 17,
            cols: 5,
        };
        assert_eq!(spec.stored_len(Element::F32), Some(2 * 5 * 16));
        assert_eq!(spec.stored_len(Element::Bf16), Some(2 * 6 * 16));
        let values: Vec<u16> = (0..96).collect();
        let panel = Values::Bf16(&values);
        assert_eq!(panel.in_panel(3, 4), widen(2 * 32 + 6));
        assert_eq!(panel.in_panel(15, 1), widen(31));
    }
}
