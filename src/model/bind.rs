//! Binding: every weight the architecture names, with the shape the sizes demand, and no other.

use crate::compute::Panels;
use crate::tensor::{Element, Layout, PANEL_ROWS};
use crate::weights::{Metadata, Shape, Tensor, WeightStore};

use super::expect;
use super::forward::Matrix;
use super::parts::{self, Linear, Parts};
use super::spec::Spec;
use super::{Error, Hyper, KvShape, PerReach};

/// Bound weights and sizes; shared by all workers.
pub struct Model {
    pub(super) hyper: Hyper,
    pub(super) spec: &'static Spec,
    /// At most the model's own context; less when the configuration says so.
    context: usize,
    /// Number type of keys and values.
    kv: Element,
    /// See [`Model::step_weights`].
    step_weights: (usize, usize),
    pub(super) weights: Parts<Tensor>,
}

/// The bound weights of one layer.
pub(super) type Layer = parts::Layer<Tensor>;

/// The bound weights of one norm.
pub(super) type BoundNorm = parts::NormParts<Tensor>;

/// The matrix of a bound tensor.
pub(super) fn panels(tensor: &Tensor) -> Panels<'_> {
    let spec = tensor.spec();
    Panels::new(tensor.values(), spec.rows, spec.cols)
}

/// A bound matrix whose product adds `bias`, if there is one.
pub(super) fn matrix<'a>(weight: &'a Tensor, bias: Option<&'a Tensor>) -> Matrix<'a> {
    Matrix {
        panels: panels(weight),
        bias: bias.map(Tensor::f32),
    }
}

impl Linear<Tensor> {
    pub(super) fn matrix(&self) -> Matrix<'_> {
        matrix(&self.weight, self.bias.as_ref())
    }
}

impl Model {
    /// Binds every tensor of `store`; a missing one, a wrong shape or a tensor that the architecture
    /// does not use is an error that names it. `kv` is the number type of keys and values.
    pub fn bind(
        store: &WeightStore,
        metadata: &Metadata,
        context: Option<usize>,
        kv: Element,
    ) -> Result<Model, Error> {
        let (hyper, spec) = Hyper::read(metadata)?;
        let shapes: Vec<Shape> = store
            .specs()
            .into_iter()
            .map(|spec| Shape {
                dimensions: expect::dimensions(&spec),
                name: spec.name,
            })
            .collect();
        let weights = expect::weights(&hyper, spec, &shapes)?.try_map(|expected| {
            store.expect(
                &expected.name,
                expected.layout,
                expected.rows,
                expected.cols,
            )
        })?;
        let Parts {
            embedding, output, ..
        } = &weights;
        let stored = |tensor: &Tensor| tensor.values().bytes();
        let all = store.value_bytes() as usize;
        let head = stored(output.as_ref().unwrap_or(embedding));
        let layers = all - stored(embedding) - output.as_ref().map_or(0, stored);
        let context = context.map_or(hyper.context, |wanted| wanted.min(hyper.context));
        Ok(Model {
            hyper,
            spec,
            context,
            kv,
            step_weights: (layers, head),
            weights,
        })
    }

    pub fn vocab(&self) -> usize {
        self.weights.embedding.spec().rows
    }

    /// Positions that prompt and output of one sequence share.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Bytes that a step reads of the weights: of all layers and norms, and of the output matrix.
    pub fn step_weights(&self) -> (usize, usize) {
        self.step_weights
    }

    /// Number type of the matrices.
    pub fn element(&self) -> Element {
        self.weights.embedding.values().element()
    }

    pub fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    pub fn kv_shape(&self) -> KvShape {
        self.hyper.kv_shape(self.kv)
    }

    /// Bytes of keys and values of 16 positions over all layers.
    pub fn kv_block_bytes(&self) -> usize {
        let PerReach { all, window } = self.kv_shape().block_bytes();
        all + window
    }

    pub(super) fn output(&self) -> Matrix<'_> {
        let Parts {
            output,
            output_bias,
            embedding,
            ..
        } = &self.weights;
        matrix(output.as_ref().unwrap_or(embedding), output_bias.as_ref())
    }

    /// Writes 16 values of the embedding of token `id`, from number `start` on, to `out`, with what the model adds for
    /// the token's position; those behind its end are left as they are.
    pub(super) fn embed(&self, id: usize, position: usize, start: usize, out: &mut [f32]) {
        let embedding = &self.weights.embedding;
        let hidden = self.hyper.hidden;
        let count = out.len().min(hidden - start);
        let out = &mut out[..count];
        match embedding.spec().layout {
            Layout::Panels => panels(embedding).copy_row(id, start, out),
            Layout::Rows | Layout::Vector => {
                let row = embedding.values().part(id * hidden + start, count);
                row.copy_to(out);
            }
        }
        if let Some(scale) = self.hyper.factors.embedding {
            out.iter_mut().for_each(|value| *value *= scale);
        }
        if let Some(positions) = &self.weights.positions {
            let mut row = [0.0; PANEL_ROWS];
            panels(positions).copy_row(position, start, &mut row[..count]);
            for (value, &position) in out.iter_mut().zip(&row) {
                *value += position;
            }
        }
    }
}
