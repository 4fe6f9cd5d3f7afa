//! Numbers of the processor: blocks of one value, rounded to the nearest F32.

macro_rules! number {
    ($name:ident, $bytes:literal) => {
        #[inline(always)]
        pub(super) fn $name(block: &[u8; $bytes], out: &mut [f32; 1]) {
            *out = [$name::from_le_bytes(*block) as f32];
        }
    };
}

number!(f32, 4);
number!(f64, 8);
number!(i8, 1);
number!(i16, 2);
number!(i32, 4);
number!(i64, 8);
