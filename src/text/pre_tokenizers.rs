//! The pre-tokenizers of gpt2 vocabularies: how text is cut into words before merging.
//!
//! A uniform table. The names are those of `tokenizer.ggml.pre`, the expressions those of llama.cpp
//! (`src/llama-vocab.cpp`), so that ids are equal. Expressions apply one after the other: each cuts
//! the pieces that the one before left.

/// One pre-tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    /// Matches become pieces of their own; what lies between them stays a piece.
    pub(super) expressions: &'static [&'static str],
    /// A piece that is itself a vocabulary entry is not built from merges.
    pub(super) ignore_merges: bool,
    /// BOS is added where the file does not say.
    pub(super) adds_bos: bool,
}

const GPT2_WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3_WORDS: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2_WORDS: &str = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Words as in GPT-2.
const GPT2: PreTokenizer = PreTokenizer {
    expressions: &[GPT2_WORDS],
    ignore_merges: false,
    adds_bos: false,
};
/// Every digit alone, then words as in GPT-2.
const SINGLE_DIGITS: PreTokenizer = PreTokenizer {
    expressions: &[r"\p{N}", GPT2_WORDS],
    ignore_merges: false,
    adds_bos: false,
};
/// For files that name no pre-tokenizer.
const DEFAULT: PreTokenizer = PreTokenizer {
    expressions: &[
        r"[\p{P}\$\+<=>\^~\|]+",
        GPT2_WORDS,
        r"\p{N}+",
        "[0-9][0-9][0-9]",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// Up to three digits together, any case of contractions.
const LLAMA3: PreTokenizer = PreTokenizer {
    expressions: &[LLAMA3_WORDS],
    ignore_merges: true,
    adds_bos: true,
};
/// The words of Llama 3 without its other habits.
const THREE_DIGITS: PreTokenizer = PreTokenizer {
    expressions: &[LLAMA3_WORDS],
    ignore_merges: false,
    adds_bos: false,
};
/// Every digit alone, any case of contractions.
const QWEN2: PreTokenizer = PreTokenizer {
    expressions: &[QWEN2_WORDS],
    ignore_merges: false,
    adds_bos: false,
};

const TABLE: &[(&str, PreTokenizer)] = &[
    ("default", DEFAULT),
    ("smollm", SINGLE_DIGITS),
    ("starcoder", SINGLE_DIGITS),
    ("refact", SINGLE_DIGITS),
    ("command-r", SINGLE_DIGITS),
    ("codeshell", SINGLE_DIGITS),
    ("exaone", SINGLE_DIGITS),
    ("minerva-7b", SINGLE_DIGITS),
    ("gpt-2", GPT2),
    ("phi-2", GPT2),
    ("mpt", GPT2),
    ("olmo", GPT2),
    ("jais", GPT2),
    ("trillion", GPT2),
    ("granite-docling", GPT2),
    ("gigachat", GPT2),
    ("exaone4", GPT2),
    ("llama-bpe", LLAMA3),
    ("llama3", LLAMA3),
    ("llama-v3", LLAMA3),
    ("falcon3", LLAMA3),
    ("falcon-h1", LLAMA3),
    ("pixtral", LLAMA3),
    ("midm-2.0", LLAMA3),
    ("lfm2", LLAMA3),
    ("dbrx", THREE_DIGITS),
    ("smaug-bpe", THREE_DIGITS),
    ("chatglm-bpe", THREE_DIGITS),
    ("glm4", THREE_DIGITS),
    ("qwen2", QWEN2),
    ("deepseek-r1-qwen", QWEN2),
    ("stablelm2", QWEN2),
    ("megrez", QWEN2),
    ("hunyuan", QWEN2),
    ("solar-open", QWEN2),
    ("grok-2", QWEN2),
];

/// The pre-tokenizer with this name.
pub(super) fn find(name: &str) -> Option<PreTokenizer> {
    TABLE
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, pre)| *pre)
}

/// Every known name, for error sentences.
pub(super) fn names() -> String {
    TABLE
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (i, (name, _)) in TABLE.iter().enumerate() {
            assert!(
                TABLE[..i].iter().all(|(earlier, _)| earlier != name),
                "{name} twice"
            );
        }
    }

    #[test]
    fn an_unknown_name_is_not_found() {
        assert_eq!(find("smollm"), Some(SINGLE_DIGITS));
        assert_eq!(find("smollm3000"), None);
    }
}
