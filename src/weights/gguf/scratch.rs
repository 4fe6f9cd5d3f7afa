//! Scratch reader until `weights::gguf` is there.
#![allow(clippy::unwrap_used, reason = "scratch")]
use std::io::Read;
use super::{Metadata, Value};
struct R<'a>(&'a [u8]);
impl R<'_> {
    fn n<const N: usize>(&mut self) -> [u8; N] {
        let mut b = [0; N];
        self.0.read_exact(&mut b).unwrap();
        b
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.n())
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.n())
    }
    fn s(&mut self) -> String {
        let n = self.u64();
        let mut b = vec![0; n as usize];
        self.0.read_exact(&mut b).unwrap();
        String::from_utf8(b).unwrap()
    }
    fn v(&mut self, t: u32) -> Value {
        match t {
            4 => Value::U32(self.u32()),
            5 => Value::I32(i32::from_le_bytes(self.n())),
            6 => Value::F32(f32::from_le_bytes(self.n())),
            7 => Value::Bool(self.n::<1>()[0] != 0),
            8 => Value::String(self.s()),
            10 => Value::U64(self.u64()),
            9 => {
                let t = self.u32();
                let n = self.u64();
                match t {
                    8 => Value::Strings((0..n).map(|_| self.s()).collect()),
                    5 => Value::Integers(
                        (0..n)
                            .map(|_| i64::from(i32::from_le_bytes(self.n())))
                            .collect(),
                    ),
                    t => panic!("{t}"),
                }
            }
            t => panic!("{t}"),
        }
    }
}
pub struct Header { pub metadata: Metadata }
impl Header {
    pub fn read(file: &[u8]) -> Result<Self, String> {
        let mut r = R(file);
        r.u32(); r.u32(); r.u64();
        let n = r.u64();
        let metadata = Metadata::from_pairs((0..n).map(|_| { let k = r.s(); let t = r.u32(); let v = r.v(t); (k, v) }).collect());
        Ok(Header { metadata })
    }
}
