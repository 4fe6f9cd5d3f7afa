//! Which KV blocks hold which tokens: full blocks that are computed, by the tokens before and in them.
//!
//! A node stands for one block: its parent is the block before it in a sequence, and its tokens are the 16 that
//! it holds. So a node is found by comparing tokens, never by a hash alone, and two sequences that begin alike
//! walk the same nodes. A sequence uses the nodes of its own prefix; nodes that nobody uses are kept for later
//! sequences, and the least recently used of those without children goes first when memory is wanted.
//!
//! A node may have a second block, for layers with a sliding window. Who uses the node uses that only while the
//! window shows it, so these have users and an order of their own, and a node may lose its second block and get
//! another one later. [`usable`] says where a sequence can go on without those that are gone.
//!
//! Invariant: whoever uses a node uses its parents. Knows neither memory nor models: blocks are numbers.

use std::collections::{BTreeSet, HashMap};

use crate::model::{KV_BLOCK_TOKENS, first_kept};

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
    window: Option<Window>,
}

/// The block for layers with a window.
#[derive(Debug)]
struct Window {
    block: u32,
    users: usize,
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
    /// Nodes with a second block that nobody uses, the least recently used first.
    idle_windows: BTreeSet<(u64, NodeId)>,
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

    /// The block for layers with a window.
    pub(super) fn window(&self, id: NodeId) -> Option<u32> {
        self.node(id).window.as_ref().map(|window| window.block)
    }

    /// A new node with one user, of its second block too if it has one.
    ///
    /// # Panics
    /// When there is one with these tokens.
    pub(super) fn insert(
        &mut self,
        parent: Option<NodeId>,
        tokens: BlockTokens,
        block: u32,
        window: Option<u32>,
    ) -> NodeId {
        let node = Node {
            parent,
            tokens,
            block,
            users: 1,
            children: 0,
            left: 0,
            window: window.map(Window::used_once),
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

    /// One more sequence uses the second block, which the node must have.
    pub(super) fn enter_window(&mut self, id: NodeId) {
        let window = self.window_mut(id);
        window.users += 1;
        let (first, left) = (window.users == 1, window.left);
        if first {
            self.idle_windows.remove(&(left, id));
        }
    }

    /// The node, which has no second block, gets one with one user.
    pub(super) fn give_window(&mut self, id: NodeId, block: u32) {
        let before = self.node_mut(id).window.replace(Window::used_once(block));
        assert!(before.is_none(), "the node has a block for windows");
    }

    /// The window of one sequence has left the second block behind.
    pub(super) fn leave_window(&mut self, id: NodeId) {
        self.clock += 1;
        let now = self.clock;
        let window = self.window_mut(id);
        window.users -= 1;
        window.left = now;
        if window.users == 0 {
            self.idle_windows.insert((now, id));
        }
    }

    /// A sequence leaves its nodes, and from number `first` on their second blocks, where there are such.
    pub(super) fn leave(&mut self, chain: &mut Vec<NodeId>, first: usize) {
        // From the end: a parent is used at least as recently as its children.
        for (number, id) in chain.drain(..).enumerate().rev() {
            if number >= first && self.node(id).window.is_some() {
                self.leave_window(id);
            }
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

    /// Forgets the least recently used node; its blocks.
    pub(super) fn evict(&mut self) -> Option<(u32, Option<u32>)> {
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
        let window = node.window.map(|window| {
            // Nobody uses the node, so nobody uses this.
            self.idle_windows.remove(&(window.left, id));
            window.block
        });
        Some((node.block, window))
    }

    /// Takes the least recently used second block from its node.
    pub(super) fn evict_window(&mut self) -> Option<u32> {
        let (_, id) = self.idle_windows.pop_first()?;
        let window = self.node_mut(id).window.take();
        window.map(|window| window.block)
    }

    fn node(&self, id: NodeId) -> &Node {
        self.nodes[id].as_ref().expect("a node in use stays")
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id].as_mut().expect("a node in use stays")
    }

    fn window_mut(&mut self, id: NodeId) -> &mut Window {
        let window = self.node_mut(id).window.as_mut();
        window.expect("a block in use stays")
    }
}

impl Window {
    fn used_once(block: u32) -> Self {
        Window {
            block,
            users: 1,
            left: 0,
        }
    }
}

/// How many of the nodes that follow the first `held` blocks of a sequence can be used: as many as possible, such
/// that whatever the next token sees in layers with a window of so many positions is there. `windows` says which
/// nodes have their second block; what lies before them, the sequence has.
pub(super) fn usable(window: usize, held: usize, windows: impl Iterator<Item = bool>) -> usize {
    let (mut most, mut gone) = (0, None);
    for (index, there) in (held..).zip(windows) {
        if !there {
            gone = Some(index);
        }
        let next = index + 1;
        if gone.is_none_or(|gone| gone < first_kept(window, next * KV_BLOCK_TOKENS)) {
            most = next - held;
        }
    }
    most
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
        let a = index.insert(None, tokens(1), 10, None);
        let b = index.insert(Some(a), tokens(2), 11, None);
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
        let a = index.insert(None, tokens(1), 10, None);
        let b = index.insert(Some(a), tokens(2), 11, None);
        index.enter(a);
        let c = index.insert(Some(a), tokens(3), 12, None);
        index.leave(&mut vec![a, b], 0);
        assert_eq!(index.idle(), 1);
        index.leave(&mut vec![a, c], 0);
        assert_eq!(index.idle(), 3);
        // Used once more, b goes after c.
        index.enter(a);
        index.enter(b);
        index.leave(&mut vec![a, b], 0);
        let order: Vec<u32> =
            std::iter::from_fn(|| index.evict().map(|(block, _)| block)).collect();
        assert_eq!(order, [12, 11, 10]);
        assert_eq!((index.idle(), index.find(None, &tokens(1))), (0, None));
    }

    #[test]
    fn second_blocks_go_by_themselves_and_come_back() {
        let mut index = PrefixIndex::default();
        let a = index.insert(None, tokens(1), 10, Some(20));
        let b = index.insert(Some(a), tokens(2), 11, Some(21));
        assert_eq!((index.window(b), index.evict_window()), (Some(21), None));
        // One sequence is past a, another one enters it.
        index.leave_window(a);
        index.enter_window(a);
        assert_eq!(index.evict_window(), None);
        index.leave_window(a);
        assert_eq!(index.evict_window(), Some(20));
        assert_eq!((index.window(a), index.block(a)), (None, 10));
        index.give_window(a, 22);
        assert_eq!((index.window(a), index.evict_window()), (Some(22), None));
        index.leave_window(a);
        // The first had left a before.
        index.leave(&mut vec![a, b], 1);
        let order: Vec<u32> = std::iter::from_fn(|| index.evict_window())
            .take(1)
            .collect();
        assert_eq!(order, [22]);
        // A node goes with its second block.
        assert_eq!(
            [index.evict(), index.evict()],
            [Some((11, Some(21))), Some((10, None))]
        );
        assert_eq!((index.evict(), index.evict_window()), (None, None));
    }

    #[test]
    fn a_prefix_is_usable_where_the_window_shows_nothing_that_is_gone() {
        let there = |text: &str| text.chars().map(|c| c == 'x').collect::<Vec<_>>();
        let most = |window, held, text| usable(window, held, there(text).into_iter());
        // A window of two blocks: the token behind block n sees those before it, but for the first position.
        for (held, text, expected) in [
            (0, "", 0),
            (0, "xxxx", 4),
            (0, ".xxx", 4),
            (0, "..x", 0),
            (0, "..xx", 4),
            (0, "xx.xx", 5),
            (0, "xx.x", 2),
            (0, "xx.x.xx.", 7),
            (5, "x.", 1),
            (5, ".", 0),
            (5, "..xx", 4),
        ] {
            assert_eq!(most(32, held, text), expected, "{held} {text}");
        }
        // The token itself and two blocks are 33 positions; one more lies in a third block.
        assert_eq!((most(33, 0, "..xx"), most(33, 0, "..xxx")), (4, 5));
        assert_eq!((most(34, 0, "..xx"), most(34, 0, "..xxx")), (0, 5));
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
                            index.insert(parent, tokens(*value), next - 1, None)
                        }
                    };
                    chain.push(id);
                }
                running.push(chain);
                for _ in 0..leaves.min(running.len()) {
                    index.leave(&mut running.remove(0), 0);
                }
                let used: std::collections::HashSet<NodeId> = running.iter().flatten().copied().collect();
                prop_assert_eq!(index.idle() + used.len(), held.len());
                if evicts && let Some((block, _)) = index.evict() {
                    held.remove(&block);
                }
            }
            running.iter_mut().for_each(|chain| index.leave(chain, 0));
            while let Some((block, _)) = index.evict() {
                prop_assert!(held.remove(&block).is_some());
            }
            prop_assert!(held.is_empty() && index.idle() == 0);
        }
    }
}
