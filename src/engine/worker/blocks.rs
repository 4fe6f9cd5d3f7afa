//! KV blocks of a worker's sequences: who gets them, who gives them back, and which are shared.
//!
//! Blocks for layers with a window are taken just before a step writes them and given back when the window has left
//! them behind. The pool has enough of them for every sequence that runs, so the scheduler does not count them.

use super::Worker;
use crate::engine::prefix::usable;
use crate::engine::scheduler::{admits, fits, place};
use crate::engine::stepper::Stepper;
use crate::model::{KV_BLOCK_TOKENS, Reach, first_kept};

impl<S: Stepper> Worker<'_, S> {
    /// Preempts the last until the others can grow, and grows those.
    pub(super) fn make_room(&mut self) {
        self.look();
        loop {
            let available = self.available();
            if fits(&self.views[..self.running], available) {
                break;
            }
            self.running -= 1;
            self.give_back(self.running);
        }
        for index in 0..self.running {
            self.reserve(index, self.views[index].known);
        }
    }

    /// Lets waiting sequences join, in their order.
    pub(super) fn admit_waiting(&mut self) {
        while self.running < self.sequences.len() {
            self.take_blocks(self.running);
            let view = self.sequences[self.running].view();
            if !admits(&view, self.running, self.available(), self.shared.limits) {
                // Who waits holds nothing: the first must find room.
                self.give_back(self.running);
                return;
            }
            self.reserve(self.running, view.reservation());
            self.look();
            let place = place(&self.views[..self.running], view.priority);
            self.sequences[place..=self.running].rotate_right(1);
            self.running += 1;
        }
    }

    /// Blocks that can be had: those that are kept for nobody in particular go when they are wanted.
    fn available(&mut self) -> usize {
        self.stepper.free_blocks(Reach::All) + self.prefixes.idle()
    }

    /// Forgets what a sequence computed, and gives its blocks back. Those that the index knows stay to be found
    /// again.
    pub(super) fn give_back(&mut self, index: usize) {
        let sequence = &mut self.sequences[index];
        self.stepper.release(&mut sequence.table);
        self.prefixes
            .leave(&mut sequence.chain, sequence.ring.start);
        sequence.preempt();
    }

    /// Takes computed blocks with the sequence's next tokens instead of computing them.
    fn take_blocks(&mut self, index: usize) {
        let sequence = &mut self.sequences[index];
        let found = &mut self.found;
        found.clear();
        let mut last = sequence.chain.last().copied();
        while let Some(tokens) = sequence.shareable(found.len())
            && let Some(node) = self.prefixes.find(last, &tokens)
        {
            found.push(node);
            last = Some(node);
        }
        let held = sequence.chain.len();
        let mut first = 0;
        if let Some(window) = self.stepper.window() {
            let windows = found
                .iter()
                .map(|&node| self.prefixes.window(node).is_some());
            found.truncate(usable(window, held, windows));
            first = first_kept(window, (held + found.len()) * KV_BLOCK_TOKENS);
            // What the window still shows is the sequence's own.
            self.slide(index, first.min(held));
        }
        let sequence = &mut self.sequences[index];
        for (place, &node) in (held..).zip(&self.found) {
            let block = self.prefixes.block(node);
            self.prefixes.enter(node);
            if place < sequence.held {
                let table = &mut sequence.table;
                self.stepper.replace(table, Reach::All, place, block);
            } else {
                self.stepper
                    .share(&mut sequence.table, Reach::All, Some(block));
                sequence.held += 1;
            }
            if self.stepper.window().is_some() {
                assert!(sequence.ring.end == place, "right behind what is computed");
                let block = self.prefixes.window(node).filter(|_| place >= first);
                if block.is_some() {
                    self.prefixes.enter_window(node);
                }
                self.stepper
                    .share(&mut sequence.table, Reach::Window, block);
                sequence.ring = first.max(sequence.ring.start)..place + 1;
            }
            sequence.chain.push(node);
            sequence.computed += KV_BLOCK_TOKENS;
        }
    }

    /// Lets others find the blocks that a sequence has computed, and gives those back that its window left behind.
    pub(super) fn offer_blocks(&mut self, index: usize) {
        let windowed = self.stepper.window();
        let sequence = &mut self.sequences[index];
        while let Some(tokens) = sequence.next_computed() {
            let parent = sequence.chain.last().copied();
            let place = sequence.chain.len();
            let table = &mut sequence.table;
            let own = windowed.map(|_| self.stepper.block(table, Reach::Window, place));
            let node = match self.prefixes.find(parent, &tokens) {
                // Somebody computed the same at the same time: one block is enough.
                Some(node) => {
                    self.prefixes.enter(node);
                    let block = self.prefixes.block(node);
                    self.stepper.replace(table, Reach::All, place, block);
                    match (self.prefixes.window(node), own) {
                        (Some(block), _) => {
                            self.prefixes.enter_window(node);
                            self.stepper.replace(table, Reach::Window, place, block);
                        }
                        (None, Some(own)) => {
                            self.stepper.add_holder(Reach::Window, own);
                            self.prefixes.give_window(node, own);
                        }
                        (None, None) => {}
                    }
                    node
                }
                None => {
                    let block = self.stepper.block(table, Reach::All, place);
                    self.stepper.add_holder(Reach::All, block);
                    if let Some(own) = own {
                        self.stepper.add_holder(Reach::Window, own);
                    }
                    self.prefixes.insert(parent, tokens, block, own)
                }
            };
            sequence.chain.push(node);
        }
        if let Some(window) = windowed {
            let first = first_kept(window, sequence.computed);
            self.slide(index, first);
        }
    }

    /// Gives back what lies before block `first` in layers with a window.
    fn slide(&mut self, index: usize, first: usize) {
        let sequence = &mut self.sequences[index];
        if first > sequence.ring.start {
            for &node in &sequence.chain[sequence.ring.start..first] {
                self.prefixes.leave_window(node);
            }
            self.stepper.slide(&mut sequence.table, first);
            sequence.ring.start = first;
        }
    }

    fn reserve(&mut self, index: usize, positions: usize) {
        let sequence = &mut self.sequences[index];
        let blocks = positions.div_ceil(KV_BLOCK_TOKENS);
        if blocks > sequence.held {
            while self.stepper.free_blocks(Reach::All) < blocks - sequence.held
                && let Some((block, window)) = self.prefixes.evict()
            {
                self.stepper.drop_holder(Reach::All, block);
                if let Some(window) = window {
                    self.stepper.drop_holder(Reach::Window, window);
                }
            }
            let table = &mut sequence.table;
            let grown = self.stepper.grow(table, Reach::All, positions);
            assert!(grown, "the scheduler counted the free KV blocks");
            sequence.held = blocks;
        }
    }

    /// Takes the blocks for layers with a window that the next step writes.
    pub(super) fn extend_ring(&mut self, index: usize, positions: usize) {
        let sequence = &mut self.sequences[index];
        let blocks = positions.div_ceil(KV_BLOCK_TOKENS);
        if self.stepper.window().is_none() || blocks <= sequence.ring.end {
            return;
        }
        while self.stepper.free_blocks(Reach::Window) < blocks - sequence.ring.end
            && let Some(block) = self.prefixes.evict_window()
        {
            self.stepper.drop_holder(Reach::Window, block);
        }
        let table = &mut sequence.table;
        let grown = self.stepper.grow(table, Reach::Window, positions);
        assert!(grown, "there are blocks for the rings of all slots");
        sequence.ring.end = blocks;
    }

    /// Looks at the running sequences for a step. One whose next block another before it is about to compute waits
    /// for that instead of computing it too: it is shown as having nothing to compute.
    pub(super) fn wait_for_equals(&mut self) {
        for index in 0..self.running {
            self.take_blocks(index);
        }
        self.look();
        self.views.truncate(self.running);
        self.claims.clear();
        for (sequence, view) in self.sequences.iter().zip(&mut self.views) {
            if let Some(tokens) = sequence.shareable(0)
                && !self.claims.insert((sequence.chain.last().copied(), tokens))
            {
                view.computed = view.known;
            }
        }
    }
}
