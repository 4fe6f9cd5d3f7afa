//! What a model's files say of it, and whether it would run: for people who look before they load.
//!
//! Invariant: whether it runs is asked in the order and of the functions of loading, so that the two never disagree.
//! Reads no weight.

use std::convert::Infallible;

use crate::tensor::Element;
use crate::text::{ChatTemplate, Tokenizer};
use crate::weights::Description;

use super::accept::{accept, compare};
use super::{Error, Hyper, KV_BLOCK_TOKENS, expect, ring_blocks};

/// Everything that can be made out; what cannot is missing, and `problem` says why.
#[derive(Debug)]
pub struct Inspection {
    /// `general.architecture`.
    pub architecture: Option<String>,
    pub sizes: Option<Sizes>,
    /// For each number type.
    pub memory: Option<[Memory; 2]>,
    pub vocabulary: Option<Vocabulary>,
    pub template: Template,
    /// Why it would not run; the sentence of loading.
    pub problem: Option<Error>,
}

/// The chat template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// The files' own, of so many bytes.
    Own(usize),
    /// They have none, and `chatml` is used.
    None,
    /// It cannot be used; a sentence.
    Broken(String),
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
    /// Rows of the embedding, where the tensors fit the sizes: at least one for each token.
    pub vocabulary: Option<usize>,
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
    /// Keys and values of one position.
    pub kv_per_token: u64,
    /// And of a whole context, in blocks of 16 positions.
    pub kv_of_context: u64,
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
    let mut inspection = Inspection {
        architecture: architecture.map(str::to_owned),
        sizes: None,
        memory: None,
        vocabulary: None,
        template: Template::None,
        problem: None,
    };
    let accepted = accept(metadata, &description.tensors);
    // Why these fail is known from above.
    let _ = body(description, &mut inspection);
    let template = ChatTemplate::new(metadata, None);
    let own = metadata.string("tokenizer.chat_template").ok().flatten();
    inspection.template = match (&template, own) {
        (Err(problem), _) => Template::Broken(problem.to_string()),
        (Ok(_), Some(own)) => Template::Own(own.len()),
        (Ok(_), None) => Template::None,
    };
    let tokenizer = Tokenizer::from_metadata(metadata);
    inspection.vocabulary = tokenizer.as_ref().ok().map(vocabulary);
    let rows = inspection.sizes.as_ref().and_then(|sizes| sizes.vocabulary);
    let verdict = accepted.and_then(|()| {
        template?;
        compare(tokenizer?.vocab_size(), rows.unwrap_or(0))
    });
    inspection.problem = verdict.err();
    inspection
}

/// The transformer, as far as its sizes and tensors fit each other.
fn body(description: &Description, inspection: &mut Inspection) -> Result<(), Error> {
    let (hyper, spec) = Hyper::read(&description.metadata)?;
    let sizes = inspection.sizes.insert(sizes(&hyper));
    let weights = expect::weights(&hyper, spec, &description.tensors)?;
    sizes.vocabulary = Some(weights.embedding.rows);
    let mut stored = Element::ALL.map(|element| (element, 0u64));
    let Ok(_) = weights.try_map(|spec| {
        for (element, bytes) in &mut stored {
            let size = spec.element(*element).bytes();
            let len = spec.stored_len(*element).unwrap_or(usize::MAX);
            *bytes = bytes.saturating_add(len.saturating_mul(size) as u64);
        }
        Ok::<_, Infallible>(())
    });
    inspection.memory = Some(stored.map(|(element, weights)| {
        let each = hyper.kv_shape(element).block_bytes();
        let blocks = hyper.context.div_ceil(KV_BLOCK_TOKENS);
        let ring = hyper.window().map_or(0, |window| ring_blocks(window, 1));
        let (all, window) = (each.all as u64, each.window as u64);
        Memory {
            element,
            weights,
            kv_per_token: (all + window) / KV_BLOCK_TOKENS as u64,
            kv_of_context: (blocks as u64)
                .saturating_mul(all)
                .saturating_add((blocks.min(ring) as u64).saturating_mul(window)),
        }
    }));
    Ok(())
}

fn vocabulary(tokenizer: &Tokenizer) -> Vocabulary {
    let name = |id: Option<u32>| id.map(|id| tokenizer.name(id).to_owned());
    Vocabulary {
        entries: tokenizer.vocab_size(),
        bos: name(tokenizer.bos()),
        adds_bos: tokenizer.adds_bos(),
        eos: name(tokenizer.eos()),
        adds_eos: tokenizer.adds_eos(),
    }
}

fn sizes(hyper: &Hyper) -> Sizes {
    Sizes {
        layers: hyper.layers,
        hidden: hyper.hidden,
        heads: hyper.heads,
        kv_heads: hyper.kv_heads,
        head_dim: hyper.head_dim,
        feed_forward: hyper.feed_forward,
        vocabulary: None,
        context: hyper.context,
        experts: hyper.experts.map(|experts| (experts.count, experts.used)),
        window: hyper
            .window()
            .map(|window| (window, hyper.windowed_layers())),
    }
}
