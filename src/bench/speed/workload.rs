//! What is run: prompts, generation, batches, depths.

use std::fmt;

use clap::ValueEnum;
use serde::Serialize;

/// What a workload is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// The tokens of one prompt, in one step where they fit.
    Prompt,
    /// One token after the other, of one sequence.
    Generate,
    /// The same of several sequences at once.
    Batch,
    /// Both, behind many positions.
    Depth,
}

/// Positions are zero keys and values where nothing was computed: what they hold changes no speed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Workload {
    pub(super) kind: Kind,
    /// Positions before the first token.
    pub(super) depth: usize,
    pub(super) sequences: usize,
    /// Tokens that one step computes for each sequence.
    pub(super) together: usize,
    /// Steps.
    pub(super) steps: usize,
}

impl Workload {
    /// Positions of one sequence at the end.
    pub(super) fn positions(&self) -> usize {
        self.depth + self.together * self.steps
    }

    /// Tokens of one step.
    pub(super) fn step_tokens(&self) -> usize {
        self.sequences * self.together
    }

    pub(super) fn tokens(&self) -> usize {
        self.step_tokens() * self.steps
    }
}

/// As llama-bench calls it.
impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.together, self.steps) {
            (1, steps) => write!(f, "tg{steps}")?,
            (tokens, _) => write!(f, "pp{tokens}")?,
        }
        if self.sequences > 1 {
            write!(f, " x {}", self.sequences)?;
        }
        match self.depth {
            0 => Ok(()),
            depth => write!(f, " @ d{depth}"),
        }
    }
}

fn prompt(tokens: usize, depth: usize, kind: Kind) -> Workload {
    Workload {
        kind,
        depth,
        sequences: 1,
        together: tokens,
        steps: 1,
    }
}

fn generate(steps: usize, sequences: usize, depth: usize, kind: Kind) -> Workload {
    Workload {
        kind,
        depth,
        sequences,
        together: 1,
        steps,
    }
}

/// Prompts of 1 to 512 tokens; 50 and 256 tokens of one sequence; 32 tokens of up to 64; depths of 0 to 8192.
pub(super) fn all(quick: bool) -> Vec<Workload> {
    if quick {
        return vec![
            prompt(10, 0, Kind::Prompt),
            generate(4, 1, 0, Kind::Generate),
            generate(2, 3, 0, Kind::Batch),
            generate(2, 1, 40, Kind::Depth),
        ];
    }
    let mut all = vec![];
    all.extend([1, 10, 50, 100, 512].map(|tokens| prompt(tokens, 0, Kind::Prompt)));
    all.extend([50, 256].map(|steps| generate(steps, 1, 0, Kind::Generate)));
    all.extend([1, 2, 4, 8, 16, 32, 64].map(|count| generate(32, count, 0, Kind::Batch)));
    for depth in [0, 2048, 7600, 8192] {
        all.push(prompt(512, depth, Kind::Depth));
        all.push(generate(32, 1, depth, Kind::Depth));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workloads_have_the_names_of_llama_bench() {
        let names = |kind| -> Vec<String> {
            let all = all(false)
                .into_iter()
                .filter(|workload| workload.kind == kind);
            all.map(|workload| workload.to_string()).collect()
        };
        assert_eq!(
            names(Kind::Prompt),
            ["tg1", "pp10", "pp50", "pp100", "pp512"]
        );
        assert_eq!(names(Kind::Generate), ["tg50", "tg256"]);
        assert_eq!(names(Kind::Batch)[6], "tg32 x 64");
        assert_eq!(names(Kind::Depth)[2..4], ["pp512 @ d2048", "tg32 @ d2048"]);
    }
}
