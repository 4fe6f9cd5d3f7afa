//! Named weights, whatever holds them: a mapped cache file or synthetic memory.

use crate::tensor::{Layout, TensorSpec};

use super::Error;

/// All tensors of one model. Cheap to clone.
#[derive(Clone)]
pub struct WeightStore {}

/// One tensor of a [`WeightStore`]; keeps the storage alive. Cheap to clone.
#[derive(Clone)]
pub struct Tensor {}

impl WeightStore {
    /// The tensor with this name, or an error that names it.
    pub fn get(&self, _name: &str) -> Result<Tensor, Error> {
        todo!()
    }

    /// The same, checked against the shape and layout the model expects.
    pub fn expect(
        &self,
        _name: &str,
        _layout: Layout,
        _rows: usize,
        _cols: usize,
    ) -> Result<Tensor, Error> {
        todo!()
    }

    pub fn contains(&self, _name: &str) -> bool {
        todo!()
    }

    /// In storage order.
    pub fn specs(&self) -> Vec<TensorSpec> {
        todo!()
    }
}

impl Tensor {
    pub fn spec(&self) -> &TensorSpec {
        todo!()
    }

    /// All stored values, panel padding included; 64-byte aligned.
    pub fn values(&self) -> &[f32] {
        todo!()
    }
}
