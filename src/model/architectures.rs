//! Every architecture, as data. A uniform table; what the words mean is in `spec`.

use super::spec::{
    Activation, Biases, ExpertRules, Factor, FeedForward, HeadNorms, LocalRope, Norm, NormPlaces,
    Output, Positions, Presence, Residual, Rotary, Spec, Window,
};
use Presence::{Always, Maybe, Never};

const NO_BIASES: Biases = Biases {
    inputs: Maybe,
    attention_output: Never,
    feed_forward: Never,
    output: Never,
};

const ALL_BIASES: Biases = Biases {
    inputs: Always,
    attention_output: Always,
    feed_forward: Always,
    output: Never,
};

const ADJACENT: Positions = Positions::Rotary(Rotary::Adjacent);
const HALVES: Positions = Positions::Rotary(Rotary::Halves);

/// Also Mistral, TinyLlama, SmolLM2 and mixtures such as Mixtral.
const LLAMA: Spec = Spec {
    architecture: "llama",
    // No published llama has the second; synthetic models do.
    norms: &[Norm::Rms, Norm::Layer],
    norm_places: NormPlaces::Before,
    head_norms: HeadNorms::None,
    positions: ADJACENT,
    no_position_every: 0,
    residual: Residual::Sequential,
    shared_norm: false,
    biases: Biases {
        inputs: Maybe,
        attention_output: Maybe,
        feed_forward: Maybe,
        output: Never,
    },
    feed_forward: FeedForward::Gated(Activation::Silu),
    experts: Some(ExpertRules {
        required: false,
        normalized: true,
        shared: false,
    }),
    output: Output::Either,
    window: Window::Never,
    scaled_embedding: false,
    implied_head_layers: 0,
    factors: &[Factor::Attention, Factor::Experts],
    default_caps: (None, None),
};

/// What most of the others have in common.
const PLAIN: Spec = Spec {
    architecture: "",
    norms: &[Norm::Rms],
    biases: NO_BIASES,
    experts: None,
    factors: &[],
    ..LLAMA
};

const QWEN2: Spec = Spec {
    architecture: "qwen2",
    positions: HALVES,
    biases: Biases {
        output: Maybe,
        ..NO_BIASES
    },
    ..PLAIN
};

const QWEN3: Spec = Spec {
    architecture: "qwen3",
    positions: HALVES,
    head_norms: HeadNorms::EachHead,
    ..PLAIN
};

const GEMMA: Spec = Spec {
    architecture: "gemma",
    positions: HALVES,
    feed_forward: FeedForward::Gated(Activation::Gelu),
    output: Output::Embedding,
    scaled_embedding: true,
    ..PLAIN
};

const GEMMA2: Spec = Spec {
    architecture: "gemma2",
    norm_places: NormPlaces::Around,
    window: Window::Local {
        every: 2,
        default: Some(4096),
        rope: LocalRope::Same,
    },
    implied_head_layers: 46,
    factors: &[Factor::AttentionCap, Factor::LogitCap],
    default_caps: (Some(50.0), Some(30.0)),
    ..GEMMA
};

/// LayerNorm, biases everywhere, a plain feed-forward part: the family of GPT-2.
const GPT2: Spec = Spec {
    architecture: "gpt2",
    norms: &[Norm::Layer],
    positions: Positions::Learned,
    biases: ALL_BIASES,
    feed_forward: FeedForward::Plain(Activation::Gelu),
    ..PLAIN
};

pub(super) const ALL: [Spec; 18] = [
    LLAMA,
    Spec {
        architecture: "smollm3",
        no_position_every: 4,
        ..PLAIN
    },
    QWEN2,
    Spec {
        architecture: "qwen2moe",
        experts: Some(ExpertRules {
            required: true,
            normalized: false,
            shared: true,
        }),
        output: Output::Own,
        factors: &[Factor::Experts],
        ..QWEN2
    },
    QWEN3,
    Spec {
        architecture: "qwen3moe",
        experts: Some(ExpertRules {
            required: true,
            normalized: true,
            shared: false,
        }),
        factors: &[Factor::Experts],
        ..QWEN3
    },
    GEMMA,
    GEMMA2,
    Spec {
        architecture: "gemma3",
        head_norms: HeadNorms::EachHead,
        output: Output::Either,
        window: Window::Local {
            every: 6,
            default: None,
            rope: LocalRope::Base(10_000.0),
        },
        implied_head_layers: 62,
        factors: &[Factor::LogitCap],
        default_caps: (None, None),
        ..GEMMA2
    },
    Spec {
        architecture: "phi2",
        shared_norm: true,
        norms: &[Norm::Layer],
        positions: HALVES,
        biases: Biases {
            output: Always,
            ..ALL_BIASES
        },
        feed_forward: FeedForward::Plain(Activation::Gelu),
        output: Output::Own,
        ..PLAIN
    },
    Spec {
        architecture: "phi3",
        positions: HALVES,
        feed_forward: FeedForward::GatedTogether(Activation::Silu),
        window: Window::Ignored,
        ..PLAIN
    },
    Spec {
        architecture: "stablelm",
        shared_norm: true,
        norms: &[Norm::Layer],
        positions: HALVES,
        head_norms: HeadNorms::OwnWeights,
        output: Output::Own,
        ..PLAIN
    },
    Spec {
        architecture: "gptneox",
        positions: HALVES,
        residual: Residual::Declared,
        output: Output::Own,
        ..GPT2
    },
    GPT2,
    Spec {
        architecture: "olmo2",
        positions: HALVES,
        norm_places: NormPlaces::After,
        head_norms: HeadNorms::WholeRow,
        output: Output::Own,
        window: Window::Local {
            every: 4,
            default: None,
            rope: LocalRope::Unscaled,
        },
        ..PLAIN
    },
    Spec {
        architecture: "granite",
        biases: LLAMA.biases,
        factors: &[
            Factor::Attention,
            Factor::Embedding,
            Factor::Residual,
            Factor::LogitDivided,
        ],
        ..PLAIN
    },
    Spec {
        architecture: "starcoder2",
        positions: HALVES,
        ..GPT2
    },
    Spec {
        architecture: "command-r",
        shared_norm: true,
        norms: &[Norm::PlainLayer],
        head_norms: HeadNorms::OwnWeights,
        output: Output::Embedding,
        factors: &[Factor::LogitTimes],
        ..PLAIN
    },
];
