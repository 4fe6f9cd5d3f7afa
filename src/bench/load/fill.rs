//! The yardstick of everything that only writes: one value stored everywhere, with the widest stores the
//! machine has.

use std::hint::black_box;

use crate::cache::{Contents, Part};
use crate::compute::{Isa, Kernel};
use crate::tensor::{Layout, TensorSpec};

/// Values of a row: 2 MiB, the piece that a thread takes.
const ROW: usize = (2 << 20) / size_of::<f32>();

struct Fill<'a> {
    out: &'a mut [f32],
    value: f32,
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.out.fill(self.value);
    }
}

/// Stores one value everywhere. The compiler must not know it: zeros have an instruction of their own.
pub(super) fn fill(out: &mut [f32]) {
    let value = black_box(1.5);
    Isa::best().run(Fill { out, value });
}

/// As a tensor of at least `bytes`, so that memory is taken, cut and shared between threads as for weights.
pub(super) struct Plain {
    pub(super) bytes: u64,
}

impl Contents for Plain {
    fn specs(&self) -> Vec<TensorSpec> {
        let rows = self.bytes.div_ceil((ROW * size_of::<f32>()) as u64) as usize;
        vec![TensorSpec {
            name: "fill".to_owned(),
            layout: Layout::Rows,
            rows,
            cols: ROW,
        }]
    }

    fn fill(&self, _: &TensorSpec, _: &Part, out: &mut [f32]) {
        fill(out);
    }
}
