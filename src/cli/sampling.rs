//! The flags that say how tokens are drawn, the same for every verb that takes a prompt.

use clap::{ArgGroup, Args};

/// The flags that make the prompt a message.
pub(super) const CONVERSATION: &str = "conversation";

/// What the command line asks for; `None` leaves it to whoever runs the prompt.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(
    next_help_heading = "Sampling",
    // What gives a system message a conversation to stand in; `woolly run` adds `--interactive`.
    group = ArgGroup::new(CONVERSATION).multiple(true)
)]
pub(super) struct Sampling {
    /// Generate at most this many tokens
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) max_tokens: Option<u32>,

    /// 0 always takes the likeliest token; higher is more varied
    #[arg(long, value_name = "T", value_parser = finite, allow_negative_numbers = true)]
    pub(super) temperature: Option<f64>,

    /// Draw from the smallest set of tokens whose probabilities add up to this
    #[arg(long, value_name = "P", value_parser = finite, allow_negative_numbers = true)]
    pub(super) top_p: Option<f64>,

    /// Draw from the K likeliest tokens only (0: from all)
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    pub(super) top_k: Option<u32>,

    /// The same seed gives the same text
    #[arg(long, value_name = "S", allow_negative_numbers = true)]
    pub(super) seed: Option<u64>,

    /// End before this text; may be given several times
    #[arg(long, value_name = "TEXT")]
    pub(super) stop: Vec<String>,

    /// Go on to --max-tokens even where the model would end
    #[arg(long)]
    pub(super) ignore_eos: bool,

    /// Put the prompt into the model's chat template, as one message of the user
    #[arg(long, group = CONVERSATION)]
    pub(super) chat: bool,

    /// A system message before the user's
    #[arg(long, value_name = "TEXT", requires = CONVERSATION)]
    pub(super) system: Option<String>,
}

/// JSON has no NaN and no infinity.
fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err("expected a number such as 0.7".to_owned()),
    }
}
