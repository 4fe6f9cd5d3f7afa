//! A sequence in a worker: its prompt, what it generated, and what turns logits into text.
//!
//! Tokens: the end token that the model draws is one of the tokens, as in llama.cpp: it is reported
//! and counted, and prints as nothing. So is every token of a stop string, whose text is left out.
//!
//! Invariant: whatever happens around it (batch, preemption, another worker), the events of a
//! sequence depend only on its task, the weights and the vocabulary.

use std::ops::Range;
use std::sync::Arc;

use crate::job::{Event, FinishReason, Shaping, Token};
use crate::model::{BatchToken, KV_BLOCK_TOKENS};
use crate::text::StreamDecoder;

use super::Task;
use super::draft::{MAX_DRAFT, Record, propose};
use super::prefix::{BlockTokens, NodeId};
use super::refusal::{Refusal, output_limit};
use super::sampler::{Sampler, Scratch, Unusable, check, report};
use super::scheduler::View;
use super::shaper::Shaper;
use super::stepper::{Shape, Vocabulary};
use super::stop::StopMatcher;

/// `T` is the KV block table.
pub(super) struct Sequence<T> {
    pub(super) task: Task,
    pub(super) table: T,
    /// Blocks in `table`.
    pub(super) held: usize,
    /// Those it has for layers with a window, as far as the window shows them.
    pub(super) ring: Range<usize>,
    /// What the index knows of its first blocks, in their order.
    pub(super) chain: Vec<NodeId>,
    /// Positions whose keys and values are in those blocks.
    pub(super) computed: usize,
    /// Its last event is out, or about to be.
    pub(super) ended: bool,
    /// The prompt, and what was generated.
    tokens: Vec<u32>,
    /// Tokens that are computed in the next step in case they follow.
    draft: Vec<u32>,
    drafts: Record,
    /// Prompt tokens whose log-probability was reported, or that have none.
    scored: usize,
    /// Tokens to generate at most.
    limit: usize,
    sampler: Sampler,
    /// `None` when logits are drawn from as they are.
    shaper: Option<Shaper>,
    /// Logits that the shaper changed, and ids that must not be drawn: memory of the last draw.
    row: Vec<f32>,
    banned: Vec<u32>,
    decoder: StreamDecoder,
    stop: StopMatcher,
}

/// What one more token brought.
#[derive(Debug, PartialEq)]
pub(super) struct Advance {
    pub(super) token: Token,
    /// Why it was the last one, with the text that was still held.
    pub(super) end: Option<(FinishReason, String)>,
}

impl<T: Default> Sequence<T> {
    /// `positions` is what the KV memory of a worker holds. A sequence that might outgrow it is
    /// refused here, so that its length never depends on the size of that memory.
    ///
    /// One that goes on is as if it had been preempted behind the tokens that it generated before.
    pub(super) fn new(
        task: Task,
        shape: Shape,
        positions: usize,
        vocabulary: &dyn Vocabulary,
    ) -> Result<Self, (Task, Refusal)> {
        let limit = match output_limit(&task, shape, positions) {
            Ok(limit) => limit,
            Err(refusal) => return Err((task, refusal)),
        };
        let generated = Arc::clone(&task.generated);
        // All scores come before the first generated token.
        let all_scored = !task.score_prompt || !generated.is_empty();
        let mut sequence = Sequence {
            table: T::default(),
            held: 0,
            ring: 0..0,
            chain: Vec::new(),
            computed: 0,
            ended: false,
            tokens: task.prompt.to_vec(),
            draft: Vec::new(),
            drafts: Record::default(),
            // Nothing precedes the first.
            scored: if all_scored { task.prompt.len() } else { 1 },
            limit,
            sampler: Sampler::new(&task.params, task.sequence),
            shaper: Shaper::new(&task.params.shaping, &task.prompt),
            row: Vec::new(),
            banned: Vec::new(),
            decoder: StreamDecoder::default(),
            stop: StopMatcher::new(&task.params.stop),
            task,
        };
        if generated.len() >= limit.max(1) {
            return Err((sequence.task, Refusal::EndedBefore { token: limit }));
        }
        for (index, &id) in generated.iter().enumerate() {
            let token = Token {
                id,
                ..Token::default()
            };
            if sequence.accept(token, vocabulary).end.is_some() {
                let token = index + 1;
                return Err((sequence.task, Refusal::EndedBefore { token }));
            }
        }
        Ok(sequence)
    }

    pub(super) fn view(&self) -> View {
        View {
            priority: self.task.priority,
            prompt: self.task.prompt.len(),
            known: self.known(),
            remaining: self.limit - self.generated(),
            computed: self.computed,
            held: self.held,
        }
    }

    fn known(&self) -> usize {
        self.tokens.len()
    }

    fn generated(&self) -> usize {
        self.tokens.len() - self.task.prompt.len()
    }

    /// Drafts at most `most` tokens to be computed behind the last known one, where blocks are held for them.
    pub(super) fn make_draft(&mut self, most: usize) -> usize {
        self.draft.clear();
        let room = (self.held * KV_BLOCK_TOKENS).saturating_sub(self.known());
        // The token that follows the draft is one more.
        let wanted = (self.limit - self.generated()).saturating_sub(1);
        let most = most.min(MAX_DRAFT).min(room).min(wanted);
        if most > 0 && self.drafts.wants_draft() {
            self.draft.extend_from_slice(propose(&self.tokens, most));
        }
        self.draft.len()
    }

    /// No draft for the next step.
    pub(super) fn forget_draft(&mut self) {
        self.draft.clear();
    }

    /// Rows of logits that the step gave for it: those of its last known token and of its draft.
    pub(super) fn rows(&self) -> usize {
        1 + self.draft.len()
    }

    /// Token number `index` of the draft was computed as what followed: whether `id` is what it was.
    pub(super) fn keeps(&mut self, index: usize, id: u32) -> bool {
        let kept = self.draft.get(index) == Some(&id);
        self.computed += usize::from(kept);
        kept
    }

    /// So many of the draft were kept.
    pub(super) fn learn(&mut self, kept: usize) {
        if !self.draft.is_empty() {
            self.drafts.learn(self.draft.len(), kept);
        }
    }

    /// The tokens of the block `ahead` blocks behind those that the index knows, if the sequence stands right
    /// behind these, and the block is full, is not the end (the last token must be computed for its logits), and
    /// nobody wants logits of it.
    pub(super) fn shareable(&self, ahead: usize) -> Option<BlockTokens> {
        let place = self.chain.len() + ahead;
        let mut block = place * KV_BLOCK_TOKENS..(place + 1) * KV_BLOCK_TOKENS;
        let fits = self.computed == self.chain.len() * KV_BLOCK_TOKENS
            && block.end < self.known()
            && !block.any(|position| self.scores_at(position));
        fits.then(|| self.block_tokens(place))
    }

    /// The tokens of the block behind those that the index knows, if all are computed.
    pub(super) fn next_computed(&self) -> Option<BlockTokens> {
        let place = self.chain.len();
        let computed = (place + 1) * KV_BLOCK_TOKENS <= self.computed;
        computed.then(|| self.block_tokens(place))
    }

    fn block_tokens(&self, place: usize) -> BlockTokens {
        std::array::from_fn(|index| self.tokens[place * KV_BLOCK_TOKENS + index])
    }

    /// Where a step ends that computes `share` tokens and the draft.
    pub(super) fn end(&self, share: usize) -> usize {
        self.computed + share + self.draft.len()
    }

    /// Whether the logits of `position` score a prompt token that was not scored yet. Once that is done, it is
    /// no more, whatever is computed again.
    fn scores_at(&self, position: usize) -> bool {
        (self.scored..self.task.prompt.len()).contains(&(position + 1))
    }

    /// Whether the next token to compute scores the prompt.
    pub(super) fn scores_next(&self) -> bool {
        self.scores_at(self.computed)
    }

    /// Rows of logits that a step over the `count` tokens before `computed` gave for the scores of the prompt.
    pub(super) fn scoring_rows(&self, count: usize) -> usize {
        let start = self.computed - count;
        (start..self.computed)
            .filter(|&position| self.scores_at(position))
            .count()
    }

    /// The next token of the prompt with the log-probability that `logits` give it.
    pub(super) fn score(
        &mut self,
        logits: &[f32],
        scratch: &mut Scratch,
    ) -> Result<Event, Unusable> {
        check(logits)?;
        let id = self.task.prompt[self.scored];
        self.scored += 1;
        let top = self.task.params.logprobs.unwrap_or(0);
        let (logprob, top) = report(logits, id, usize::from(top), scratch);
        Ok(Event::Scored(Token {
            id,
            text: String::new(),
            logprob: Some(logprob),
            top,
        }))
    }

    /// Appends the next `count` tokens, and the draft, to a step; logits are wanted from the last known one on, and
    /// where they score the prompt.
    pub(super) fn append(&self, count: usize, table: usize, batch: &mut Vec<BatchToken>) {
        batch.extend(
            (self.computed..self.computed + count).map(|position| BatchToken {
                id: self.tokens[position],
                position,
                table,
                logits: self.scores_at(position) || self.limit > 0 && position + 1 == self.known(),
            }),
        );
        batch.extend(
            (self.known()..)
                .zip(&self.draft)
                .map(|(position, &id)| BatchToken {
                    id,
                    position,
                    table,
                    logits: true,
                }),
        );
    }

    /// Whether all known tokens are computed: a step that got here gave logits, unless there is
    /// nothing to generate.
    pub(super) fn is_complete(&self) -> bool {
        self.computed == self.known()
    }

    /// `max_tokens` is 0 or the prompt fills the context: the prompt is evaluated, nothing follows.
    pub(super) fn generates_nothing(&self) -> bool {
        self.limit == 0
    }

    /// Forgets what was computed; the blocks must have been released. Tokens and text stay.
    pub(super) fn preempt(&mut self) {
        self.computed = 0;
        self.held = 0;
        self.ring = 0..0;
    }

    /// Draws the next token and turns it into text.
    pub(super) fn advance(
        &mut self,
        logits: &[f32],
        vocabulary: &dyn Vocabulary,
        scratch: &mut Scratch,
    ) -> Result<Advance, Unusable> {
        let Shaping {
            min_tokens,
            stop_tokens,
            ..
        } = &self.task.params.shaping;
        let end_tokens = vocabulary.end_tokens();
        let too_early = self.generated() < *min_tokens as usize;
        self.banned.clear();
        if self.task.params.ignore_eos || too_early {
            self.banned.extend_from_slice(end_tokens);
        }
        if too_early && !stop_tokens.is_empty() {
            self.banned.extend_from_slice(stop_tokens);
            self.banned.sort_unstable();
            self.banned.dedup();
        }
        let index = self.generated();
        let shaped = match &self.shaper {
            None => logits,
            Some(shaper) => shaper.apply(logits, &mut self.row),
        };
        let id = self.sampler.draw(shaped, &self.banned, index, scratch)?;
        let mut token = Token {
            id,
            ..Token::default()
        };
        if let Some(top) = self.task.params.logprobs {
            let (logprob, top) = report(logits, id, usize::from(top), scratch);
            token.logprob = Some(logprob);
            token.top = top;
        }
        Ok(self.accept(token, vocabulary))
    }

    /// Takes the next token of the output: its text, and whether it is the last.
    fn accept(&mut self, mut token: Token, vocabulary: &dyn Vocabulary) -> Advance {
        let id = token.id;
        if let Some(shaper) = &mut self.shaper {
            shaper.note(id);
        }
        self.tokens.push(id);
        let stop_tokens = &self.task.params.shaping.stop_tokens;
        let end_tokens = vocabulary.end_tokens();
        if end_tokens.binary_search(&id).is_ok() || stop_tokens.binary_search(&id).is_ok() {
            let (_, text) = self.rest();
            return Advance {
                token,
                end: Some((FinishReason::Stop, text)),
            };
        }
        let matched = self.stop.push(&self.decoder.push(vocabulary.bytes(id)));
        token.text = matched.text;
        let end = if matched.stopped {
            Some((FinishReason::Stop, String::new()))
        } else if self.generated() == self.limit {
            let (stopped, text) = self.rest();
            Some((
                if stopped {
                    FinishReason::Stop
                } else {
                    FinishReason::Length
                },
                text,
            ))
        } else {
            None
        };
        Advance { token, end }
    }

    /// The text that was held, and whether a stop string ended it: an unfinished character is
    /// printed as U+FFFD only now, and may complete one.
    fn rest(&mut self) -> (bool, String) {
        let matched = self.stop.push(&self.decoder.finish());
        (matched.stopped, matched.text + &self.stop.finish())
    }
}

impl Advance {
    /// The events to report, in order.
    pub(super) fn into_events(self) -> impl Iterator<Item = Event> {
        let end = self
            .end
            .map(|(reason, text)| Event::Finished { reason, text });
        std::iter::once(Event::Token(self.token)).chain(end)
    }
}
