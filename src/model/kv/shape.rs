//! What the KV memory of a model stores, and which of its layers store it alike.

use crate::compute::attention::HeadBlock;
use crate::tensor::Element;

/// Which layers a block belongs to. Each kind is counted by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that see all positions.
    All,
    /// Those with a sliding window.
    Window,
}

/// One value for each [`Reach`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct PerReach<T> {
    pub all: T,
    pub window: T,
}

impl<T> PerReach<T> {
    pub fn of(&self, reach: Reach) -> &T {
        match reach {
            Reach::All => &self.all,
            Reach::Window => &self.window,
        }
    }

    pub fn of_mut(&mut self, reach: Reach) -> &mut T {
        match reach {
            Reach::All => &mut self.all,
            Reach::Window => &mut self.window,
        }
    }
}

/// What one position stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    pub layers: PerReach<usize>,
    pub kv_heads: usize,
    pub head_dim: usize,
    /// Number type of keys and values.
    pub element: Element,
}

impl KvShape {
    /// One layer's head in one block.
    pub(in crate::model) fn head(self) -> HeadBlock {
        HeadBlock {
            head_dim: self.head_dim,
            element: self.element,
        }
    }

    /// Bytes of one block of each kind, over its layers and heads.
    pub fn block_bytes(self) -> PerReach<usize> {
        let bytes = |layers: usize| {
            layers * self.kv_heads * self.head().values_per_block() * self.element.bytes()
        };
        PerReach {
            all: bytes(self.layers.all),
            window: bytes(self.layers.window),
        }
    }
}
