//! The feed-forward part of a layer, and how its result and that of attention join the stream.

use crate::compute::matmul::Store;
use crate::compute::{Lanes, LanesView, elementwise};
use crate::tensor::PANEL_ROWS;

use super::products::{Matrix, Products};
use super::{Step, by_blocks, norm};
use crate::model::bind::BoundNorm;
use crate::model::parts::Feed;
use crate::model::scratch::Scratch;
use crate::model::spec::{Activation, FeedForward};
use crate::weights::Tensor;

impl Step<'_> {
    /// Adds what the feed-forward part makes of `normed` (or of the stream, where the layer norms only results).
    pub(super) fn feed_forward(
        &mut self,
        feed: &Feed<Tensor>,
        normed: bool,
        post_norm: Option<&BoundNorm>,
    ) {
        let activation = match self.model.spec.feed_forward {
            FeedForward::Gated(activation)
            | FeedForward::GatedTogether(activation)
            | FeedForward::Plain(activation) => activation,
        };
        let width = self.model.hyper.feed_forward;
        let s = &mut *self.scratch;
        let input = if normed { &s.normed } else { &s.x };
        let products = Products::new(self.isa, self.team, input.view());
        let (down, from) = match feed {
            Feed::Mixture(mixture) => return self.mixture(mixture, activation),
            Feed::Gated { gate, up, down } => {
                products.gated(gate.matrix(), up.matrix(), activation, &mut s.wide);
                (down, From::EvenBlocks(width))
            }
            Feed::Plain { up, down } => {
                products.one(up.matrix(), &mut s.inner, Store::Replace, Some(activation));
                (down, From::Inner)
            }
            Feed::Together { gate_up, down } => {
                products.one(gate_up.matrix(), &mut s.wide, Store::Replace, None);
                self.gate_halves(activation);
                (down, From::Inner)
            }
        };
        self.join(down.matrix(), from, post_norm);
    }

    /// `inner = f(first half of wide) * second half`, whose rows need not begin with a block.
    fn gate_halves(&mut self, activation: Activation) {
        let Scratch { wide, inner, .. } = &mut *self.scratch;
        let (width, tokens, block_len) = (inner.width(), inner.tokens(), inner.block_len());
        let isa = self.isa;
        let wide = &*wide;
        let fill = |block: usize, out: &mut [f32]| {
            let start = block * PANEL_ROWS;
            let count = PANEL_ROWS.min(width - start);
            for (token, lanes) in out.chunks_exact_mut(PANEL_ROWS).take(tokens).enumerate() {
                let mut up = [0.0; PANEL_ROWS];
                wide.copy_token(token, start, &mut lanes[..count]);
                wide.copy_token(token, width + start, &mut up[..count]);
                elementwise::gate(isa, activation, lanes, &up);
            }
        };
        self.team.chunks(inner.values_mut(), block_len, fill);
    }

    /// Adds a product to the stream: scaled and normed before, where the model does that.
    pub(super) fn join(&mut self, matrix: Matrix<'_>, from: From, post_norm: Option<&BoundNorm>) {
        let residual = self.model.hyper.factors.residual;
        let s = &mut *self.scratch;
        let input = match from {
            From::Attention => s.attention.view(),
            From::Inner => s.inner.view(),
            From::EvenBlocks(width) => s.wide.even_blocks(width),
        };
        let products = Products::new(self.isa, self.team, input);
        if post_norm.is_none() && residual.is_none() {
            products.one(matrix, &mut s.x, Store::Add, None);
            return;
        }
        products.one(matrix, &mut s.branch, Store::Replace, None);
        let Scratch {
            x,
            normed,
            branch,
            moments,
            ..
        } = &mut *self.scratch;
        let added: &Lanes = match post_norm {
            None => branch,
            Some(weights) => {
                norm(
                    self.model, self.isa, self.team, branch, weights, moments, normed,
                );
                normed
            }
        };
        let factor = residual.unwrap_or(1.0);
        let isa = self.isa;
        by_blocks(self.team, x, |block, x| {
            let start = block * x.len();
            elementwise::add_scaled(isa, x, &added.values()[start..start + x.len()], factor);
        });
    }
}

/// Where the input of a layer's last product lies.
#[derive(Clone, Copy)]
pub(super) enum From {
    Attention,
    Inner,
    /// Of `wide`; so many values.
    EvenBlocks(usize),
}

/// The tokens from number `first` on, `count` of them, of a view.
pub(super) fn tokens_of(view: LanesView<'_>, first: usize, count: usize) -> LanesView<'_> {
    LanesView {
        values: view.values.get(first * PANEL_ROWS..).unwrap_or(&[]),
        tokens: count,
        ..view
    }
}
