//! Which tokens end a generation, and which are control tokens whatever the file calls them.
//!
//! GGUF files name one or two end tokens by id; chat models use more. llama.cpp finds the others by
//! their text (`src/llama-vocab.cpp`, "special_eog_ids"), and so do we, because `ignore_eos` and the
//! end of an answer depend on it. One consequence that looks odd: `<reponame>` ends a generation of
//! SmolLM2.

/// Entries that end a generation wherever they stand in the vocabulary.
const ENDS: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<|return|>",
    "<|call|>",
    "<|flush|>",
    "<|calls|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "[EOT]",
    "[EOS]",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<eos>",
    "<turn|>",
    "<|tool_response>",
    "<｜end▁of▁sentence｜>",
    "[e~[",
];

/// Roles of code completion that end a generation: the key that names the id, and the entries that
/// stand in for a missing key.
pub(super) const END_ROLES: &[(&str, &[&str])] = &[
    (
        "tokenizer.ggml.fim_pad_token_id",
        &["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"],
    ),
    (
        "tokenizer.ggml.fim_rep_token_id",
        &[
            "<|fim_repo|>",
            "<|repo_name|>",
            "<fim-repo>",
            "<REPO>",
            "<reponame>",
        ],
    ),
    ("tokenizer.ggml.fim_sep_token_id", &["<|file_sep|>"]),
];

/// Keys whose ids end a generation.
pub(super) const END_KEYS: &[&str] = &[
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
];

/// Whether the entry ends a generation by its text alone. Such an entry is a control token.
pub(super) fn is_end(entry: &str) -> bool {
    ENDS.contains(&entry)
}
