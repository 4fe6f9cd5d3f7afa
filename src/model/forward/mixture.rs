//! Mixtures of experts: each token goes through the few experts that its router prefers.
//!
//! Tokens and experts meet in places, sorted by expert: the products of all experts are two phases, whatever their
//! number. A place's values depend on its token and its expert alone, and are added in the order of the router's
//! preference, so no neighbour changes a bit.

use crate::compute::matmul::{Product, Store};
use crate::compute::{Isa, elementwise};
use crate::tensor::PANEL_ROWS;

use super::feed::tokens_of;
use super::products::{Products, spread};
use super::{Step, by_blocks};
use crate::model::bind::{matrix, panels};
use crate::model::hyper::Experts;
use crate::model::parts::{Expert, Mixture};
use crate::model::scratch::{Choice, Routing, Scratch};
use crate::model::spec::Activation;
use crate::weights::Tensor;

impl Step<'_> {
    /// Adds what the experts make of `normed` to the stream.
    pub(super) fn mixture(&mut self, mixture: &Mixture<Tensor>, activation: Activation) {
        let sizes = self.model.hyper.experts.expect("a mixture has sizes");
        self.route(mixture, sizes);
        self.gather_inputs();
        self.run_experts(mixture, activation, sizes.feed_forward);
        if let Some((gate, expert)) = &mixture.shared {
            self.run_shared(gate, expert, activation, sizes);
        }
        self.combine(mixture.shared.is_some());
    }

    /// Chooses the experts of each token, and sorts the choices by expert.
    fn route(&mut self, mixture: &Mixture<Tensor>, sizes: Experts) {
        let s = &mut *self.scratch;
        let products = Products::new(self.isa, self.team, s.normed.view());
        let router = matrix(&mixture.router, None);
        let routing = &mut s.routing;
        products.one(router, &mut routing.scores, Store::Replace, None);
        let scale = self.model.hyper.factors.experts;
        routing.choices.clear();
        for token in 0..self.batch.len() {
            let row = &mut routing.row[..sizes.count];
            routing.scores.copy_token(token, 0, row);
            choose(self.isa, row, sizes, scale, token, &mut routing.choices);
        }
        routing.sort();
    }

    /// Copies each token's input to its places.
    fn gather_inputs(&mut self) {
        let Scratch {
            normed, routing, ..
        } = &mut *self.scratch;
        let places = &routing.places;
        let inputs = &mut routing.inputs;
        inputs.resize(places.len());
        let normed = &*normed;
        let choices = &routing.choices;
        by_blocks(self.team, inputs, |block, out| {
            for (&choice, lanes) in places.iter().zip(out.chunks_exact_mut(PANEL_ROWS)) {
                lanes.copy_from_slice(normed.lane(block, choices[choice].token));
            }
        });
    }

    /// `outputs = down(f(gate(inputs)) * up(inputs))`, each place with its expert.
    fn run_experts(&mut self, mixture: &Mixture<Tensor>, activation: Activation, width: usize) {
        let isa = self.isa;
        let Routing {
            runs,
            inputs,
            wide,
            outputs,
            places,
            ..
        } = &mut self.scratch.routing;
        wide.resize(places.len());
        outputs.resize(places.len());
        let runs = &*runs;
        let block_len = wide.block_len();
        let input = inputs.view();
        let product = |weights: &Tensor, x, out_block, first, out: &mut [f32]| {
            let weights = panels(weights);
            let product = Product {
                isa,
                weights,
                x,
                out_block,
                store: Store::Replace,
            };
            product.run(first, out, None);
        };
        spread(
            self.team,
            wide.values_mut(),
            2 * block_len,
            |first, _, out| {
                for run in runs {
                    let expert = &mixture.experts[run.expert];
                    let x = tokens_of(input, run.first, run.count);
                    let skip = run.first * PANEL_ROWS;
                    product(&expert.gate, x, 2 * block_len, first, &mut out[skip..]);
                    product(
                        &expert.up,
                        x,
                        2 * block_len,
                        first,
                        &mut out[block_len + skip..],
                    );
                }
                for pair in out.chunks_exact_mut(2 * block_len) {
                    let (gates, ups) = pair.split_at_mut(block_len);
                    elementwise::gate(isa, activation, gates, ups);
                }
            },
        );
        let gated = wide.even_blocks(width);
        let block_len = outputs.block_len();
        spread(
            self.team,
            outputs.values_mut(),
            block_len,
            |first, _, out| {
                for run in runs {
                    let expert = &mixture.experts[run.expert];
                    let x = tokens_of(gated, run.first, run.count);
                    let skip = run.first * PANEL_ROWS;
                    product(&expert.down, x, block_len, first, &mut out[skip..]);
                }
            },
        );
    }

    /// The expert of all tokens: its result in `branch`, the sigmoid of its gate beside.
    fn run_shared(
        &mut self,
        gate: &Tensor,
        expert: &Expert<Tensor>,
        activation: Activation,
        sizes: Experts,
    ) {
        let s = &mut *self.scratch;
        let products = Products::new(self.isa, self.team, s.normed.view());
        products.gated(
            matrix(&expert.gate, None),
            matrix(&expert.up, None),
            activation,
            &mut s.wide,
        );
        let width = sizes.shared.expect("a shared expert has a width");
        let products = Products::new(self.isa, self.team, s.wide.even_blocks(width));
        products.one(
            matrix(&expert.down, None),
            &mut s.branch,
            Store::Replace,
            None,
        );
        let routing = &mut s.routing;
        routing.gates.clear();
        for token in 0..self.batch.len() {
            s.normed.copy_token(token, 0, &mut s.row);
            let terms = s.row.iter().zip(gate.f32());
            let sum = terms.fold(0.0f32, |sum, (&x, &w)| w.mul_add(x, sum));
            routing.gates.push(elementwise::sigmoid(sum));
        }
    }

    /// Adds the weighted results of each token to the stream, the preferred expert's first.
    fn combine(&mut self, shared: bool) {
        let Scratch {
            x, branch, routing, ..
        } = &mut *self.scratch;
        let Routing {
            outputs,
            choices,
            place_of,
            gates,
            ..
        } = &*routing;
        let tokens = x.tokens();
        let used = choices.len() / tokens.max(1);
        let branch = &*branch;
        by_blocks(self.team, x, |block, out| {
            for (token, lanes) in out.chunks_exact_mut(PANEL_ROWS).take(tokens).enumerate() {
                let mut sum = [0.0f32; PANEL_ROWS];
                let own = token * used..(token + 1) * used;
                for (choice, &place) in choices[own.clone()].iter().zip(&place_of[own]) {
                    for (sum, &y) in sum.iter_mut().zip(outputs.lane(block, place)) {
                        *sum += y * choice.weight;
                    }
                }
                if shared {
                    for (sum, &y) in sum.iter_mut().zip(branch.lane(block, token)) {
                        *sum += y * gates[token];
                    }
                }
                for (lane, sum) in lanes.iter_mut().zip(sum) {
                    *lane += sum;
                }
            }
        });
    }
}

/// Appends the choices of one token, the likeliest expert first; of equal ones the lowest number. `scores` become
/// probabilities.
fn choose(
    isa: Isa,
    scores: &mut [f32],
    sizes: Experts,
    scale: f32,
    token: usize,
    choices: &mut Vec<Choice>,
) {
    elementwise::softmax(isa, scores);
    let first = choices.len();
    for _ in 0..sizes.used {
        let taken = &choices[first..];
        let free =
            |&(expert, _): &(usize, &f32)| taken.iter().all(|choice| choice.expert != expert);
        let best = scores.iter().enumerate().filter(free).fold(
            (usize::MAX, f32::NEG_INFINITY),
            |best, (expert, &p)| {
                // A score that is not a number chooses someone too: the logits tell of it.
                if best.0 == usize::MAX || p > best.1 {
                    (expert, p)
                } else {
                    best
                }
            },
        );
        choices.push(Choice {
            token,
            expert: best.0,
            weight: best.1,
        });
    }
    let chosen = &mut choices[first..];
    if sizes.rules.normalized {
        // ggml's bound keeps a sum of zeros from dividing.
        let sum = chosen
            .iter()
            .fold(0.0f32, |sum, choice| sum + choice.weight);
        let sum = sum.max(6.103_515_6e-5);
        chosen.iter_mut().for_each(|choice| choice.weight /= sum);
    }
    if scale != 1.0 {
        chosen.iter_mut().for_each(|choice| choice.weight *= scale);
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::LN_2;

    use super::*;
    use crate::model::spec::ExpertRules;

    fn chosen(scores: &[f32], used: usize, normalized: bool, scale: f32) -> Vec<(usize, f32)> {
        let sizes = Experts {
            count: scores.len(),
            used,
            feed_forward: 1,
            shared: None,
            rules: ExpertRules {
                required: true,
                normalized,
                shared: false,
            },
        };
        let mut choices = vec![];
        choose(
            Isa::Portable,
            &mut scores.to_vec(),
            sizes,
            scale,
            7,
            &mut choices,
        );
        assert!(choices.iter().all(|choice| choice.token == 7));
        choices
            .iter()
            .map(|choice| (choice.expert, choice.weight))
            .collect()
    }

    #[test]
    fn the_likeliest_come_first_and_of_equal_ones_the_lowest_number() {
        // Probabilities 1/8, 1/4, 1/8, 1/2 but for rounding.
        let scores = [0.0, LN_2, 0.0, 2.0 * LN_2];
        let found = chosen(&scores, 3, false, 1.0);
        let numbers: Vec<usize> = found.iter().map(|(expert, _)| *expert).collect();
        assert_eq!(numbers, [3, 1, 0]);
        for ((_, weight), expected) in found.iter().zip([0.5, 0.25, 0.125]) {
            assert!((weight - expected).abs() < 1e-6, "{weight}");
        }
    }

    #[test]
    fn weights_are_brought_to_a_sum_of_one_and_scaled() {
        let scores = [0.0, LN_2, 0.0, 2.0 * LN_2];
        let found = chosen(&scores, 2, true, 3.0);
        for ((_, weight), expected) in found.iter().zip([2.0, 1.0]) {
            assert!((weight - expected).abs() < 1e-5, "{weight}");
        }
    }

    #[test]
    fn scores_that_are_not_numbers_choose_different_experts_too() {
        let found = chosen(&[f32::NAN; 4], 3, true, 1.0);
        let mut numbers: Vec<usize> = found.iter().map(|(expert, _)| *expert).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2]);
    }
}
