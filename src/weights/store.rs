//! Named weights, whatever holds them: a mapped cache file or synthetic memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::{MappedTensors, MemoryTensors};
use crate::tensor::{Layout, TensorSpec, Values};

use super::Error;

/// All tensors of one model. Cheap to clone.
#[derive(Clone)]
pub struct WeightStore {
    storage: Arc<Storage>,
}

/// One tensor of a [`WeightStore`]; keeps the storage alive. Cheap to clone.
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    position: usize,
}

enum Storage {
    Mapped(MappedTensors),
    Memory(MemoryTensors),
}

impl Storage {
    fn position(&self, name: &str) -> Option<usize> {
        match self {
            Storage::Mapped(tensors) => tensors.position(name),
            Storage::Memory(tensors) => tensors.position(name),
        }
    }

    fn at(&self, position: usize) -> (&TensorSpec, Values<'_>) {
        match self {
            Storage::Mapped(tensors) => tensors.at(position),
            Storage::Memory(tensors) => tensors.at(position),
        }
    }
}

impl WeightStore {
    pub(super) fn mapped(tensors: MappedTensors) -> Self {
        WeightStore {
            storage: Arc::new(Storage::Mapped(tensors)),
        }
    }

    /// The same weights, to be verified.
    pub(super) fn unverified(&self) -> Unverified {
        Unverified {
            storage: self.storage.clone(),
        }
    }

    pub(super) fn memory(tensors: MemoryTensors) -> Self {
        WeightStore {
            storage: Arc::new(Storage::Memory(tensors)),
        }
    }

    /// The tensor with this name, or an error that names it.
    pub fn get(&self, name: &str) -> Result<Tensor, Error> {
        match self.storage.position(name) {
            Some(position) => Ok(Tensor {
                storage: self.storage.clone(),
                position,
            }),
            None => Err(Error::Tensor {
                name: name.to_owned(),
                problem: "it is missing".into(),
            }),
        }
    }

    /// The same, checked against the shape and layout the model expects.
    pub fn expect(
        &self,
        name: &str,
        layout: Layout,
        rows: usize,
        cols: usize,
    ) -> Result<Tensor, Error> {
        let tensor = self.get(name)?;
        let found = tensor.spec();
        if (found.layout, found.rows, found.cols) == (layout, rows, cols) {
            return Ok(tensor);
        }
        let problem = format!(
            "expected {rows} rows of {cols} values as {layout:?}, found {} rows of {} as {:?}",
            found.rows, found.cols, found.layout
        );
        Err(Error::Tensor {
            name: name.to_owned(),
            problem,
        })
    }

    /// In storage order.
    pub fn specs(&self) -> Vec<TensorSpec> {
        match &*self.storage {
            Storage::Mapped(tensors) => tensors.specs(),
            Storage::Memory(tensors) => tensors.specs(),
        }
    }

    /// Bytes mapped or allocated for values, panel padding included.
    pub fn value_bytes(&self) -> u64 {
        match &*self.storage {
            Storage::Mapped(tensors) => tensors.value_bytes(),
            Storage::Memory(tensors) => tensors.value_bytes(),
        }
    }
}

/// Mapped weights whose values were not compared with their checksums yet.
pub struct Unverified {
    storage: Arc<Storage>,
}

/// How a verification ended that found nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Sound,
    /// It was told to stop.
    Stopped,
}

impl Unverified {
    /// Reads all values on the calling thread and compares them with their checksums. A damaged file is set
    /// aside before the error is returned, so that the next one who looks for it makes it anew. `stop` ends
    /// it after the current tensor.
    pub fn verify(self, stop: &AtomicBool) -> Result<Verdict, Error> {
        let Storage::Mapped(tensors) = &*self.storage else {
            return Ok(Verdict::Sound);
        };
        let mut checks = (0..tensors.specs().len()).map(|index| tensors.verify_tensor(index));
        let checked = loop {
            if stop.load(Ordering::Relaxed) {
                return Ok(Verdict::Stopped);
            }
            match checks.next() {
                Some(Ok(())) => {}
                Some(Err(damage)) => break Err(damage),
                None => break tensors.verify_padding(),
            }
        };
        if let Err(damage) = checked {
            // A file that has to stay is refused again by whoever reads its values first.
            if let Err(error) = tensors.quarantine() {
                tracing::warn!("{error}");
            }
            return Err(damage.into());
        }
        Ok(Verdict::Sound)
    }
}

impl Tensor {
    pub fn spec(&self) -> &TensorSpec {
        self.storage.at(self.position).0
    }

    /// All stored values, panel padding included; 64-byte aligned.
    pub fn values(&self) -> Values<'_> {
        self.storage.at(self.position).1
    }

    /// The values of a tensor that is FP32, as vectors are whatever the matrices are.
    ///
    /// # Panics
    /// When it is not.
    pub fn f32(&self) -> &[f32] {
        self.values().f32().expect("an FP32 tensor")
    }
}
