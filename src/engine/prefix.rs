//! Which KV blocks hold which tokens: full blocks that are computed, by the tokens before and in them.
//!
//! A node stands for one block: its parent is the block before it in a sequence, and its tokens are the 16 that
//! it holds. So a node is found by comparing tokens, never by a hash alone, and two sequences that begin alike
//! walk the same nodes. A sequence uses the nodes of its own prefix; nodes that nobody uses are kept for later
//! sequences, and the least recently used of those without children goes first when memory is wanted.
//!
//! Invariant: whoever uses a node uses its parents. Knows neither memory nor models: blocks are numbers.

use std::collections::{BTreeSet, HashMap};

use crate::model::KV_BLOCK_TOKENS;

/// The tokens of one block.
pub(super) type BlockTokens = [u32; KV_BLOCK_TOKENS];

/// A node; its number may be given again after it went.
pub(super) type NodeId = usize;

#[derive(Debug)]
struct Node {
    parent: Option<NodeId>,
    tokens: BlockTokens,
    block: u32,
    users: usize,
    children: usize,
    /// When its last user left.
    left: u64,
}

/// All blocks of one worker that can be found again.
#[derive(Debug, Default)]
pub(super) struct PrefixIndex {
    nodes: Vec<Option<Node>>,
    vacant: Vec<NodeId>,
    by_tokens: HashMap<(Option<NodeId>, BlockTokens), NodeId>,
    /// Nodes without users and children, the least recently used first.
    evictable: BTreeSet<(u64, NodeId)>,
    idle: usize,
    clock: u64,
}

impl PrefixIndex {
    /// The node that holds `tokens` after `parent` (`None`: at the beginning).
    pub(super) fn find(&self, parent: Option<NodeId>, tokens: &BlockTokens) -> Option<NodeId> {
        self.by_tokens.get(&(parent, *tokens)).copied()
    }

    pub(super) fn block(&self, id: NodeId) -> u32 {
        self.node(id).block
    }

    /// A new node with one user.
    ///
    /// # Panics
    /// When there is one with these tokens.
    pub(super) fn insert(
        &mut self,
        parent: Option<NodeId>,
        tokens: BlockTokens,
        block: u32,
    ) -> NodeId {
        let node = Node {
            parent,
            tokens,
            block,
            users: 1,
            children: 0,
            left: 0,
        };
        let id = self.vacant.pop().unwrap_or(self.nodes.len());
        if id == self.nodes.len() {
            self.nodes.push(None);
        }
        self.nodes[id] = Some(node);
        if let Some(parent) = parent {
            self.node_mut(parent).children += 1;
        }
        let before = self.by_tokens.insert((parent, tokens), id);
        assert!(before.is_none(), "these tokens have a node");
        id
    }

    /// One more sequence uses the node.
    pub(super) fn enter(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.users += 1;
        let (first, left) = (node.users == 1, node.left);
        if first {
            self.idle -= 1;
            self.evictable.remove(&(left, id));
        }
    }

    /// A sequence leaves its nodes.
    pub(super) fn leave(&mut self, chain: &mut Vec<NodeId>) {
        // From the end: a parent is used at least as recently as its children.
        for id in chain.drain(..).rev() {
            self.clock += 1;
            let now = self.clock;
            let node = self.node_mut(id);
            node.users -= 1;
            node.left = now;
            let (last, childless) = (node.users == 0, node.children == 0);
            if last {
                self.idle += 1;
                if childless {
                    self.evictable.insert((now, id));
                }
            }
        }
    }

    /// Blocks that nobody uses: all of them can go, one after the other.
    pub(super) fn idle(&self) -> usize {
        self.idle
    }

    /// Forgets the least recently used block; its number.
    pub(super) fn evict(&mut self) -> Option<u32> {
        let (_, id) = self.evictable.pop_first()?;
        let node = self.nodes[id].take()?;
        self.by_tokens.remove(&(node.parent, node.tokens));
        self.vacant.push(id);
        self.idle -= 1;
        if let Some(parent) = node.parent {
            let above = self.node_mut(parent);
            above.children -= 1;
            if above.children == 0 && above.users == 0 {
                let left = above.left;
                self.evictable.insert((left, parent));
            }
        }
        Some(node.block)
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes[id].as_ref().expect("a node in use stays")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id].as_mut().expect("a node in use stays")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(value: u32) -> BlockTokens {
        [value; KV_BLOCK_TOKENS]
    }

    #[test]
    fn blocks_are_found_by_all_that_is_before_them() {
        let mut index = PrefixIndex::default();
        let a = index.insert(None, tokens(1), 10);
        let b = index.insert(Some(a), tokens(2), 11);
        assert_eq!(index.find(None, &tokens(1)), Some(a));
        assert_eq!(index.find(Some(a), &tokens(2)), Some(b));
        assert_eq!(index.find(None, &tokens(2)), None);
        assert_eq!(index.find(Some(b), &tokens(2)), None);
        assert_eq!((index.block(b), index.idle()), (11, 0));
        assert_eq!(index.evict(), None);
    }

    #[test]
    fn the_least_recently_used_leaf_goes_first() {
        let mut index = PrefixIndex::default();
        let a = index.insert(None, tokens(1), 10);
        let b = index.insert(Some(a), tokens(2), 11);
        index.enter(a);
        let c = index.insert(Some(a), tokens(3), 12);
        index.leave(&mut vec![a, b]);
        assert_eq!(index.idle(), 1);
        index.leave(&mut vec![a, c]);
        assert_eq!(index.idle(), 3);
        // Used once more, b goes after c.
        index.enter(a);
        index.enter(b);
        index.leave(&mut vec![a, b]);
        let order: Vec<u32> = std::iter::from_fn(|| index.evict()).collect();
        assert_eq!(order, [12, 11, 10]);
        assert_eq!((index.idle(), index.find(None, &tokens(1))), (0, None));
    }

    proptest! {
        /// Sequences over a tiny alphabet come and go; what is found must be what was put there.
        #[test]
        fn what_is_found_holds_the_tokens_that_were_asked_for(
            steps in prop::collection::vec((prop::collection::vec(0u32..3, 1..6), 0usize..4, any::<bool>()), 1..60),
        ) {
            let mut index = PrefixIndex::default();
            let mut held: HashMap<u32, Vec<u32>> = HashMap::new();
            let mut next = 0;
            let mut running: Vec<Vec<NodeId>> = vec![];
            for (sequence, leaves, evicts) in steps {
                let mut chain: Vec<NodeId> = vec![];
                for (length, value) in sequence.iter().enumerate() {
                    let parent = chain.last().copied();
                    let id = match index.find(parent, &tokens(*value)) {
                        Some(id) => {
                            prop_assert_eq!(&held[&index.block(id)], &sequence[..=length]);
                            index.enter(id);
                            id
                        }
                        None => {
                            held.insert(next, sequence[..=length].to_vec());
                            next += 1;
                            index.insert(parent, tokens(*value), next - 1)
                        }
                    };
                    chain.push(id);
                }
                running.push(chain);
                for _ in 0..leaves.min(running.len()) {
                    index.leave(&mut running.remove(0));
                }
                let used: std::collections::HashSet<NodeId> = running.iter().flatten().copied().collect();
                prop_assert_eq!(index.idle() + used.len(), held.len());
                if evicts && let Some(block) = index.evict() {
                    held.remove(&block);
                }
            }
            running.iter_mut().for_each(|chain| index.leave(chain));
            while let Some(block) = index.evict() {
                prop_assert!(held.remove(&block).is_some());
            }
            prop_assert!(held.is_empty() && index.idle() == 0);
        }
    }
}
