//! One thing per weight of a model: what is expected of it, or the weight itself.
//!
//! Invariant: plain data; nothing here knows names, sizes or values.

/// All weights.
pub(super) struct Parts<T> {
    pub(super) embedding: T,
    /// Added to the embedding; a row for each position.
    pub(super) positions: Option<T>,
    /// `None` when the embedding is also the output matrix.
    pub(super) output: Option<T>,
    pub(super) output_bias: Option<T>,
    pub(super) output_norm: NormParts<T>,
    /// Divide the rotation of each pair; only some models have them.
    pub(super) rope_factors: RopeFactors<T>,
    pub(super) layers: Vec<Layer<T>>,
}

/// Divisors of the rotation of each pair.
pub(super) struct RopeFactors<T> {
    pub(super) all: Option<T>,
    /// For contexts up to the original one, and for longer ones.
    pub(super) short: Option<T>,
    pub(super) long: Option<T>,
}

/// The weights of one layer.
pub(super) struct Layer<T> {
    pub(super) attention_norm: Option<NormParts<T>>,
    pub(super) inputs: Inputs<T>,
    pub(super) query_norm: Option<T>,
    pub(super) key_norm: Option<T>,
    pub(super) attention_output: Linear<T>,
    pub(super) attention_post_norm: Option<NormParts<T>>,
    pub(super) feed_forward_norm: Option<NormParts<T>>,
    pub(super) feed_forward: Feed<T>,
    pub(super) feed_forward_post_norm: Option<NormParts<T>>,
}

/// A matrix, and what is added to its product.
pub(super) struct Linear<T> {
    pub(super) weight: T,
    pub(super) bias: Option<T>,
}

/// The weights of one norm.
pub(super) enum NormParts<T> {
    Rms { weight: T },
    Layer { weight: T, bias: Option<T> },
}

/// What attention makes of its input.
pub(super) enum Inputs<T> {
    Apart([Linear<T>; 3]),
    /// Queries, keys and values are rows of one matrix.
    Together(Linear<T>),
}

/// The feed-forward part.
pub(super) enum Feed<T> {
    Gated {
        gate: Linear<T>,
        up: Linear<T>,
        down: Linear<T>,
    },
    /// Gate and up are rows of one matrix.
    Together {
        gate_up: Linear<T>,
        down: Linear<T>,
    },
    Plain {
        up: Linear<T>,
        down: Linear<T>,
    },
    Mixture(Mixture<T>),
}

/// A mixture of experts.
pub(super) struct Mixture<T> {
    /// `[experts, hidden]`.
    pub(super) router: T,
    pub(super) experts: Vec<Expert<T>>,
    /// Serves every token, behind a gate `[hidden]`.
    pub(super) shared: Option<(T, Expert<T>)>,
}

pub(super) struct Expert<T> {
    pub(super) gate: T,
    pub(super) up: T,
    pub(super) down: T,
}

impl<T> Parts<T> {
    /// Makes one thing of another, weight by weight.
    pub(super) fn try_map<U, E>(
        self,
        mut map: impl FnMut(T) -> Result<U, E>,
    ) -> Result<Parts<U>, E> {
        let map = &mut map;
        Ok(Parts {
            embedding: map(self.embedding)?,
            positions: self.positions.map(&mut *map).transpose()?,
            output: self.output.map(&mut *map).transpose()?,
            output_bias: self.output_bias.map(&mut *map).transpose()?,
            output_norm: self.output_norm.try_map(map)?,
            rope_factors: RopeFactors {
                all: self.rope_factors.all.map(&mut *map).transpose()?,
                short: self.rope_factors.short.map(&mut *map).transpose()?,
                long: self.rope_factors.long.map(&mut *map).transpose()?,
            },
            layers: self
                .layers
                .into_iter()
                .map(|layer| layer.try_map(map))
                .collect::<Result<_, _>>()?,
        })
    }
}

impl<T> Layer<T> {
    fn try_map<U, E>(self, map: &mut impl FnMut(T) -> Result<U, E>) -> Result<Layer<U>, E> {
        let norm = |norm: Option<NormParts<T>>, map: &mut _| {
            norm.map(|norm: NormParts<T>| norm.try_map(map)).transpose()
        };
        Ok(Layer {
            attention_norm: norm(self.attention_norm, map)?,
            inputs: match self.inputs {
                Inputs::Apart([query, key, value]) => {
                    Inputs::Apart([query.try_map(map)?, key.try_map(map)?, value.try_map(map)?])
                }
                Inputs::Together(all) => Inputs::Together(all.try_map(map)?),
            },
            query_norm: self.query_norm.map(&mut *map).transpose()?,
            key_norm: self.key_norm.map(&mut *map).transpose()?,
            attention_output: self.attention_output.try_map(map)?,
            attention_post_norm: norm(self.attention_post_norm, map)?,
            feed_forward_norm: norm(self.feed_forward_norm, map)?,
            feed_forward: self.feed_forward.try_map(map)?,
            feed_forward_post_norm: norm(self.feed_forward_post_norm, map)?,
        })
    }
}

impl<T> Linear<T> {
    fn try_map<U, E>(self, map: &mut impl FnMut(T) -> Result<U, E>) -> Result<Linear<U>, E> {
        Ok(Linear {
            weight: map(self.weight)?,
            bias: self.bias.map(map).transpose()?,
        })
    }
}

impl<T> NormParts<T> {
    fn try_map<U, E>(self, map: &mut impl FnMut(T) -> Result<U, E>) -> Result<NormParts<U>, E> {
        Ok(match self {
            NormParts::Rms { weight } => NormParts::Rms {
                weight: map(weight)?,
            },
            NormParts::Layer { weight, bias } => NormParts::Layer {
                weight: map(weight)?,
                bias: bias.map(map).transpose()?,
            },
        })
    }
}

impl<T> Feed<T> {
    fn try_map<U, E>(self, map: &mut impl FnMut(T) -> Result<U, E>) -> Result<Feed<U>, E> {
        Ok(match self {
            Feed::Gated { gate, up, down } => Feed::Gated {
                gate: gate.try_map(map)?,
                up: up.try_map(map)?,
                down: down.try_map(map)?,
            },
            Feed::Together { gate_up, down } => Feed::Together {
                gate_up: gate_up.try_map(map)?,
                down: down.try_map(map)?,
            },
            Feed::Plain { up, down } => Feed::Plain {
                up: up.try_map(map)?,
                down: down.try_map(map)?,
            },
            Feed::Mixture(mixture) => Feed::Mixture(Mixture {
                router: map(mixture.router)?,
                experts: mixture
                    .experts
                    .into_iter()
                    .map(|expert| expert.try_map(map))
                    .collect::<Result<_, _>>()?,
                shared: match mixture.shared {
                    Some((gate, expert)) => Some((map(gate)?, expert.try_map(map)?)),
                    None => None,
                },
            }),
        })
    }
}

impl<T> Expert<T> {
    fn try_map<U, E>(self, map: &mut impl FnMut(T) -> Result<U, E>) -> Result<Expert<U>, E> {
        Ok(Expert {
            gate: map(self.gate)?,
            up: map(self.up)?,
            down: map(self.down)?,
        })
    }
}
