//! KV blocks of a worker's sequences: who gets them, who gives them back, and which are shared.

use super::Worker;
use crate::engine::scheduler::{admits, fits, place};
use crate::engine::stepper::Stepper;
use crate::model::KV_BLOCK_TOKENS;

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
        self.stepper.free_blocks() + self.prefixes.idle()
    }

    /// Forgets what a sequence computed, and gives its blocks back. Those that the index knows stay to be found
    /// again.
    pub(super) fn give_back(&mut self, index: usize) {
        let sequence = &mut self.sequences[index];
        self.stepper.release(&mut sequence.table);
        self.prefixes.leave(&mut sequence.chain);
        sequence.preempt();
    }

    /// Takes computed blocks with the sequence's next tokens instead of computing them.
    fn take_blocks(&mut self, index: usize) {
        let sequence = &mut self.sequences[index];
        while sequence.can_take_blocks()
            && let Some(tokens) = sequence.next_shareable()
            && let Some(node) = self.prefixes.find(sequence.chain.last().copied(), &tokens)
        {
            let (place, block) = (sequence.chain.len(), self.prefixes.block(node));
            self.prefixes.enter(node);
            if place < sequence.held {
                self.stepper.replace(&mut sequence.table, place, block);
            } else {
                self.stepper.share(&mut sequence.table, block);
                sequence.held += 1;
            }
            sequence.chain.push(node);
            sequence.computed += KV_BLOCK_TOKENS;
        }
    }

    /// Lets others find the blocks that a sequence has computed.
    pub(super) fn offer_blocks(&mut self, index: usize) {
        let sequence = &mut self.sequences[index];
        while let Some(tokens) = sequence.next_computed() {
            let parent = sequence.chain.last().copied();
            let node = match self.prefixes.find(parent, &tokens) {
                // Somebody computed the same at the same time: one block is enough.
                Some(node) => {
                    self.prefixes.enter(node);
                    let (place, block) = (sequence.chain.len(), self.prefixes.block(node));
                    self.stepper.replace(&mut sequence.table, place, block);
                    node
                }
                None => {
                    let block = self.stepper.block(&sequence.table, sequence.chain.len());
                    self.stepper.add_holder(block);
                    self.prefixes.insert(parent, tokens, block)
                }
            };
            sequence.chain.push(node);
        }
    }

    fn reserve(&mut self, index: usize, positions: usize) {
        let sequence = &mut self.sequences[index];
        let blocks = positions.div_ceil(KV_BLOCK_TOKENS);
        if blocks > sequence.held {
            while self.stepper.free_blocks() < blocks - sequence.held
                && let Some(block) = self.prefixes.evict()
            {
                self.stepper.drop_holder(block);
            }
            let grown = self.stepper.grow(&mut sequence.table, positions);
            assert!(grown, "the scheduler counted the free KV blocks");
            sequence.held = blocks;
        }
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
            if sequence.can_take_blocks()
                && let Some(tokens) = sequence.next_shareable()
                && !self.claims.insert((sequence.chain.last().copied(), tokens))
            {
                view.computed = view.known;
            }
        }
    }
}
