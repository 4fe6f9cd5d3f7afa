//! A model as the protocol sees it: a tokenizer, a template, limits, and made-up answers.

use woolly::job::{Endpoint, Spec};
use woolly::job::{FinishReason, JobId, ModelInfo, Outcome, SequenceOutcome, Token};
use woolly::protocol::{Context, Resolved, ResponseMeta, resolve};
use woolly::text::{ChatTemplate, StreamDecoder, Tokenizer};
use woolly::weights::Metadata;

/// Everything a [`Context`] borrows.
pub(crate) struct ServedModel {
    pub(crate) tokenizer: Tokenizer,
    template: ChatTemplate,
    info: ModelInfo,
    pub(crate) max_positions: usize,
}

impl ServedModel {
    /// With the chatml template.
    pub(crate) fn new(tokenizer: Tokenizer) -> Self {
        Self::with_template(tokenizer, &Metadata::default())
    }

    /// With the template in `metadata`.
    pub(crate) fn with_template(tokenizer: Tokenizer, metadata: &Metadata) -> Self {
        let info = ModelInfo {
            name: "tiny".to_owned(),
            context: 4096,
            vocab: tokenizer.vocab_size(),
            end_tokens: tokenizer.end_tokens().to_vec(),
            fingerprint: "fp-1".to_owned(),
        };
        let template = ChatTemplate::new(metadata, None).unwrap();
        ServedModel {
            tokenizer,
            template,
            info,
            max_positions: 4096,
        }
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            info: &self.info,
            tokenizer: &self.tokenizer,
            template: &self.template,
            max_positions: self.max_positions,
            max_tokens_completion: 16,
            max_tokens_chat: 1024,
        }
    }

    /// A body that must resolve.
    pub(crate) fn spec(&self, endpoint: Endpoint, body: &serde_json::Value) -> Spec {
        let resolved = Resolved {
            seed: 7,
            max_tokens: None,
        };
        resolve(
            &self.context(),
            endpoint,
            body.to_string().as_bytes(),
            resolved,
        )
        .unwrap()
    }

    /// The same answer for every sequence: one token per byte or entry of `ids`, texts as a stream
    /// decoder gives them. Candidates are the token itself and token 0.
    pub(crate) fn outcome(&self, spec: &Spec, ids: &[u32]) -> Outcome {
        let mut decoder = StreamDecoder::default();
        let tokens: Vec<Token> = ids
            .iter()
            .map(|id| Token {
                id: *id,
                text: decoder.push(self.tokenizer.bytes(*id)),
                logprob: spec.params.logprobs.map(|_| -0.5),
                top: match spec.params.logprobs {
                    Some(k) if k > 0 => vec![(*id, -0.5), (0, -1.5)],
                    _ => Vec::new(),
                },
            })
            .collect();
        let text = tokens
            .iter()
            .map(|token| token.text.as_str())
            .collect::<String>();
        let text = text + &decoder.finish();
        let sequence = SequenceOutcome {
            scored: Vec::new(),
            tokens,
            text,
            finish: FinishReason::Stop,
        };
        Outcome {
            sequences: vec![sequence; spec.sequences.len()],
        }
    }
}

pub(crate) fn meta(endpoint: Endpoint) -> ResponseMeta {
    ResponseMeta {
        job: JobId(12),
        endpoint,
        created: 1_700_000_000,
    }
}
