//! The pre-tokenizers of gpt2 vocabularies: how text is cut into words before merging.
//!
//! A uniform table. The names are those of `tokenizer.ggml.pre`, the expressions those of llama.cpp
//! (`src/llama-vocab.cpp`), so that ids are equal. Expressions apply one after the other: each cuts
//! the pieces that the one before left. Where llama.cpp takes an expression otherwise than its author, its way counts:
//! ranges of characters have no spaces in them.

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

/// Letters of alphabets with capitals, punctuation, and Chinese characters each apart.
const DEEPSEEK: PreTokenizer = PreTokenizer {
    expressions: &[
        r"[\r\n]",
        r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
        r"\s?[!-/:-~！-／：-～‘-‟　-。&&[^\s]]+",
        r"\s+\z",
        r"[一-龥ࠀ-一가-퟿&&[^\s]]+",
        r"\p{N}+",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// Up to three digits, Chinese and Japanese, then words with their marks.
const DEEPSEEK3: PreTokenizer = PreTokenizer {
    expressions: &[
        r"\p{N}{1,3}",
        r"[一-龥぀-ゟ゠-ヿ]+",
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##,
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// Letters, punctuation, and Chinese characters each apart, every digit alone.
const DEEPSEEK_CODER: PreTokenizer = PreTokenizer {
    expressions: &[
        r"[\r\n]",
        r"\s?\p{L}+",
        r"\s?\p{P}+",
        r"[一-龥ࠀ-一가-퟿&&[^\s]]+",
        r"\p{N}",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// Scripts of East Asia first, then words cut where capitals begin.
const YOUTU: PreTokenizer = PreTokenizer {
    expressions: &[
        r"[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    ignore_merges: true,
    adds_bos: false,
};
/// Punctuation first, then words as in GPT-2, three digits together.
const FALCON: PreTokenizer = PreTokenizer {
    expressions: &[
        r"[\p{P}\$\+<=>\^~\|`]+",
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
        r"[0-9][0-9][0-9]",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// As `qwen2`, with the marks of letters among the letters.
const QWEN35: PreTokenizer = PreTokenizer {
    expressions: &[
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// Everything between spaces and sentence marks is a word.
const BLOOM: PreTokenizer = PreTokenizer {
    expressions: &[r" ?[^(\s|.,!?…。，、।۔،)]+"],
    ignore_merges: false,
    adds_bos: false,
};
/// The same with every digit alone.
const VIKING: PreTokenizer = PreTokenizer {
    expressions: &[r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"],
    ignore_merges: false,
    adds_bos: false,
};
/// Words cut where capitals begin, every digit alone.
const TEKKEN: PreTokenizer = PreTokenizer {
    expressions: &[
        r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    ignore_merges: true,
    adds_bos: true,
};
/// Words cut where capitals begin, with contractions, and up to three digits.
const GPT4O: PreTokenizer = PreTokenizer {
    expressions: &[
        r"[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))*((?=[\p{L}])([^A-Z]))+(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|[^\r\n\p{L}\p{N}]?((?=[\p{L}])([^a-z]))+((?=[\p{L}])([^A-Z]))*(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// As `qwen2`; line breaks one by one.
const BAILING: PreTokenizer = PreTokenizer {
    expressions: &[
        r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// As `qwen2`; punctuation does not take the line breaks behind it.
const SEED_CODER: PreTokenizer = PreTokenizer {
    expressions: &[
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// As `qwen2` without English contractions.
const UFAKZEKA: PreTokenizer = PreTokenizer {
    expressions: &[
        r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// Lines first, then as `qwen2`.
const LAGUNA: PreTokenizer = PreTokenizer {
    expressions: &[r"[^\n]+|[\n]+", QWEN2_WORDS],
    ignore_merges: false,
    adds_bos: false,
};
/// As `qwen2`; single letters with spaces between them stay together.
const EXAONE_MOE: PreTokenizer = PreTokenizer {
    expressions: &[
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// Up to three digits, then words as in Llama 3.
const MINICPM5: PreTokenizer = PreTokenizer {
    expressions: &[
        r"\p{N}{1,3}",
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ],
    ignore_merges: true,
    adds_bos: false,
};
/// As Llama 3, with runs of blanks in powers of two.
const JAIS2: PreTokenizer = PreTokenizer {
    expressions: &[
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}",
    ],
    ignore_merges: false,
    adds_bos: false,
};
/// The words of Llama 3; entries are not built from merges.
const GLM4: PreTokenizer = PreTokenizer {
    ignore_merges: true,
    ..THREE_DIGITS
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
    ("mellum2", SINGLE_DIGITS),
    ("gpt-2", GPT2),
    ("phi-2", GPT2),
    ("mpt", GPT2),
    ("olmo", GPT2),
    ("jais", GPT2),
    ("trillion", GPT2),
    ("granite-docling", GPT2),
    ("gigachat", GPT2),
    ("exaone4", GPT2),
    ("a.x-4.0", GPT2),
    ("mellum", GPT2),
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
    ("glm4", GLM4),
    ("glm5", GLM4),
    ("qwen2", QWEN2),
    ("deepseek-r1-qwen", QWEN2),
    ("stablelm2", QWEN2),
    ("megrez", QWEN2),
    ("hunyuan", QWEN2),
    ("solar-open", QWEN2),
    ("grok-2", QWEN2),
    ("kormo", QWEN2),
    ("f2llmv2", QWEN2),
    ("qwen35", QWEN35),
    ("ufakzeka", UFAKZEKA),
    ("laguna", LAGUNA),
    ("seed-coder", SEED_CODER),
    ("bailingmoe", BAILING),
    ("bailingmoe2", BAILING),
    ("llada-moe", BAILING),
    ("exaone-moe", EXAONE_MOE),
    ("minicpm5", MINICPM5),
    ("jais-2", JAIS2),
    ("tekken", TEKKEN),
    ("gpt-4o", GPT4O),
    ("llama4", GPT4O),
    ("kanana2", GPT4O),
    ("minimax-m2", GPT4O),
    ("youtu", YOUTU),
    ("deepseek-llm", DEEPSEEK),
    ("deepseek-coder", DEEPSEEK_CODER),
    ("deepseek-v3", DEEPSEEK3),
    ("hunyuan-dense", DEEPSEEK3),
    ("hy_v4", DEEPSEEK3),
    ("joyai-llm", DEEPSEEK3),
    ("falcon", FALCON),
    ("poro-chat", BLOOM),
    ("bloom", BLOOM),
    ("gpt3-finnish", BLOOM),
    ("viking", VIKING),
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
