//! The tree of all beginnings of some texts.

use std::collections::HashMap;

/// The root is node 0.
#[derive(Default)]
pub(super) struct Tree {
    /// From a node by a byte to the next.
    children: HashMap<(u32, u8), u32>,
}

impl Tree {
    /// Adds a text; the node where it ends. New nodes are numbered one after the other.
    pub(super) fn insert(&mut self, text: &[u8]) -> u32 {
        let mut node = 0;
        for &byte in text {
            let next = self.children.len() as u32 + 1;
            node = *self.children.entry((node, byte)).or_insert(next);
        }
        node
    }

    pub(super) fn child(&self, node: u32, byte: u8) -> Option<u32> {
        self.children.get(&(node, byte)).copied()
    }

    /// How many bytes of `text` begin one of the texts, or are one.
    pub(super) fn common(&self, text: &[u8]) -> usize {
        let mut node = 0;
        let further = |byte: &&u8| match self.child(node, **byte) {
            Some(next) => {
                node = next;
                true
            }
            None => false,
        };
        text.iter().take_while(further).count()
    }
}
