//! What a model's files say of it, and whether it would run: for people who look before they load.
//!
//! Invariant: asks the functions that loading asks, so that the two never disagree. Reads no weight.

use std::convert::Infallible;

use crate::tensor::Element;
use crate::text::{ChatTemplate, Tokenizer};
use crate::weights::{Description, Metadata};

use super::accept::compare;
use super::{Error, Hyper, KV_BLOCK_TOKENS, KvShape, expect};

/// Everything that can be made out; what cannot is missing, and `problem` says why.
#[derive(Debug)]
pub struct Inspection {
    /// `general.architecture`.
    pub architecture: Option<String>,
    pub sizes: Option<Sizes>,
    pub memory: Option<[Memory; 2]>,
    pub vocabulary: Option<Vocabulary>,
    /// Length of the files' own chat template; without one `chatml` is used.
    pub template: Option<usize>,
    /// Why it would not run; the sentence of loading.
    pub problem: Option<Error>,
}

/// Sizes of the transformer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    pub layers: usize,
    pub hidden: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub feed_forward: usize,
    /// Positions the model was made for.
    pub context: usize,
    /// Experts of each layer, and how many serve one token.
    pub experts: Option<(usize, usize)>,
    /// Positions that a layer with a sliding window sees, and the number of such layers.
    pub window: Option<(usize, usize)>,
}

/// Bytes in memory, by number type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub element: Element,
    /// All weights, in the layout of the cache file.
    pub weights: u64,
    /// Keys and values of one position, of which memory comes in blocks of 16.
    pub kv_per_token: u64,
}

impl Inspection {
    /// Memory with weights, keys and values of one type.
    pub fn memory_as(&self, element: Element) -> Option<Memory> {
        let mut all = self.memory.iter().flatten().copied();
        all.find(|memory| memory.element == element)
    }
}

/// The tokenizer, where it could be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    pub entries: usize,
    /// Names of the tokens that begin and end a text, and whether they are added.
    pub bos: Option<String>,
    pub adds_bos: bool,
    pub eos: Option<String>,
    pub adds_eos: bool,
}

/// Looks at what the files say.
pub fn inspect(description: &Description) -> Inspection {
    let metadata = &description.metadata;
    let architecture = metadata.string("general.architecture").ok().flatten();
    let template = metadata.string("tokenizer.chat_template").ok().flatten();
    let mut inspection = Inspection {
        architecture: architecture.map(str::to_owned),
        sizes: None,
        memory: None,
        vocabulary: None,
        template: template.map(str::len),
        problem: None,
    };
    let rows = body(description, &mut inspection);
    let tokens = text(metadata, &mut inspection);
    let verdict = rows.and_then(|rows| compare(tokens?, rows));
    inspection.problem = verdict.err();
    inspection
}

/// The transformer: rows of its embedding.
fn body(description: &Description, inspection: &mut Inspection) -> Result<usize, Error> {
    let (hyper, spec) = Hyper::read(&description.metadata)?;
    inspection.sizes = Some(sizes(&hyper));
    let weights = expect::weights(&hyper, spec, &description.tensors)?;
    let rows = weights.embedding.rows;
    let mut stored = Element::ALL.map(|element| (element, 0));
    let Ok(_) = weights.try_map(|spec| {
        for (element, bytes) in &mut stored {
            let len = spec.stored_len(*element).unwrap_or(usize::MAX);
            *bytes += len as u64 * spec.element(*element).bytes() as u64;
        }
        Ok::<_, Infallible>(())
    });
    inspection.memory = Some(stored.map(|(element, weights)| {
        let shape = KvShape {
            layers: hyper.layers,
            kv_heads: hyper.kv_heads,
            head_dim: hyper.head_dim,
            element,
        };
        Memory {
            element,
            weights,
            kv_per_token: (shape.block_bytes() / KV_BLOCK_TOKENS) as u64,
        }
    }));
    Ok(rows)
}

/// Tokenizer and chat template: the number of tokens.
fn text(metadata: &Metadata, inspection: &mut Inspection) -> Result<usize, Error> {
    let tokenizer = Tokenizer::from_metadata(metadata)?;
    let name = |id: Option<u32>| id.map(|id| tokenizer.name(id).to_owned());
    inspection.vocabulary = Some(Vocabulary {
        entries: tokenizer.vocab_size(),
        bos: name(tokenizer.bos()),
        adds_bos: tokenizer.adds_bos(),
        eos: name(tokenizer.eos()),
        adds_eos: tokenizer.adds_eos(),
    });
    ChatTemplate::new(metadata, None)?;
    Ok(tokenizer.vocab_size())
}

fn sizes(hyper: &Hyper) -> Sizes {
    let windows = || hyper.sights.iter().filter_map(|sight| sight.window);
    Sizes {
        layers: hyper.layers,
        hidden: hyper.hidden,
        heads: hyper.heads,
        kv_heads: hyper.kv_heads,
        head_dim: hyper.head_dim,
        feed_forward: hyper.feed_forward,
        context: hyper.context,
        experts: hyper.experts.map(|experts| (experts.count, experts.used)),
        window: windows().max().map(|window| (window, windows().count())),
    }
}
