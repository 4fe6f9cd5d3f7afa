//! The command line of `woolly`: `woolly run` computes in this process and needs no daemon.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, ModelSource, Preset};
use crate::text::Message;

use super::run_session::Session;
use super::sampling::{CONVERSATION, Sampling};
use super::{Error, error, generation, render, run_chat, run_report, settings};

/// The preset that `--fast-fp32` means.
const FAST_PRESET: Preset = Preset::M135;

/// Run a language model on this machine's CPU
#[derive(Debug, Parser)]
#[command(
    name = "woolly",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage."
)]
pub struct Woolly {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Answer a prompt, or chat, in this process
    Run(Run),
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  woolly run --model smollm2.gguf --prompt \"The capital of France is\" --max-tokens 8
  woolly run --model smollm2.gguf --interactive
  woolly run --fast-fp32 --prompt \"Hello world\" --timing
  woolly run --fast-fp32 --dry-run --json")]
pub(super) struct Run {
    /// A GGUF file or a folder with safetensors files; its FP32 cache is built on first use
    #[arg(long, value_name = "FILE", conflicts_with = "fast_fp32")]
    model: Option<PathBuf>,

    /// Random FP32 weights in the sizes of a 135M model: no file needed, and the text is noise
    #[arg(long)]
    fast_fp32: bool,

    /// The text to go on from, or with --chat the message to answer
    #[arg(long, value_name = "TEXT", required_unless_present_any = ["interactive", "dry_run"])]
    prompt: Option<String>,

    /// Chat line by line: /reset forgets the conversation, /quit or Ctrl-D ends it
    #[arg(long, conflicts_with = "dry_run", group = CONVERSATION)]
    interactive: bool,

    /// Get everything ready, report time, parameters and memory, and stop
    #[arg(long)]
    dry_run: bool,

    /// Print load time and tokens per second to standard error
    #[arg(long)]
    timing: bool,

    /// Print one JSON object instead of text (with --interactive, one for each answer)
    #[arg(long)]
    json: bool,

    /// Compute with this many threads instead of one for each CPU
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024), allow_negative_numbers = true)]
    threads: Option<u16>,

    /// Take model, cache directory and the rest from this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    sampling: Sampling,
}

impl Woolly {
    /// Does what the command line says.
    pub fn run(self) -> ExitCode {
        let Verb::Run(args) = self.verb;
        let json = args.json;
        error::exit("woolly", json, run(&args))
    }
}

fn run(args: &Run) -> Result<(), Error> {
    let mut config = configuration(args)?;
    let model = model(args, &config)?;
    if let Some(threads) = args.threads {
        config.workers.threads_per_worker = usize::from(threads);
    }
    let default_max = if args.sampling.chat || args.interactive {
        model.max_tokens_chat
    } else {
        model.max_tokens_completion
    };
    let params = generation::params(&args.sampling, default_max)?;
    let mut session = Session::load(&model, config)?;
    if args.dry_run {
        session.start(session.context())?;
        return report(args.json, &run_report::initialization(&session));
    }
    if args.interactive {
        session.start(session.context())?;
        return run_chat::run(
            &session,
            &params,
            args.sampling.system.as_deref(),
            args.prompt.clone(),
            args,
        );
    }

    let prompt = encode(&session, args)?;
    session.start(prompt.len().saturating_add(params.max_tokens as usize))?;
    let mut out = io::stdout().lock();
    let mut on_text = |text: &str| {
        if !args.json {
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    };
    let never = Arc::new(AtomicBool::new(false));
    let generated = session.generate(prompt, &params, &never, &mut on_text)?;
    if args.json {
        render::json_line(&mut out, &run_report::answer(&session, &generated))?;
    } else {
        writeln!(out)?;
    }
    if args.timing {
        render::say(run_report::timing(&session, &generated).trim_end());
    }
    Ok(())
}

fn encode(session: &Session, args: &Run) -> Result<Vec<u32>, Error> {
    let text = args.prompt.clone().unwrap_or_default();
    if !args.sampling.chat {
        return session.encode(&text);
    }
    let system = args
        .sampling
        .system
        .clone()
        .map(|text| message("system", text));
    let messages: Vec<Message> = system.into_iter().chain([message("user", text)]).collect();
    session.encode_chat(&messages)
}

pub(super) fn message(role: &str, content: String) -> Message {
    Message {
        role: role.to_owned(),
        content,
    }
}

impl Run {
    pub(super) fn json(&self) -> bool {
        self.json
    }

    pub(super) fn timing(&self) -> bool {
        self.timing
    }
}

/// `--fast-fp32` alone reads no file at all, not even a configuration that lies around.
fn configuration(args: &Run) -> Result<Config, Error> {
    match &args.config {
        None if args.fast_fp32 => Config::from_toml("", Path::new("/"))
            .map_err(|problem| Error::Failed(problem.to_string())),
        path => settings::configuration(path.as_deref()),
    }
}

fn model(args: &Run, config: &Config) -> Result<config::Model, Error> {
    let configured = config.model.clone();
    let source = if let Some(path) = &args.model {
        ModelSource::at(path.clone())
    } else if args.fast_fp32 {
        match configured.as_ref().map(|model| &model.source) {
            Some(synthetic @ ModelSource::Synthetic(_)) => synthetic.clone(),
            _ => ModelSource::Synthetic(FAST_PRESET.sizes()),
        }
    } else {
        return configured.ok_or_else(|| {
            Error::Usage(
                "say which model: --model FILE, --fast-fp32, or a --config with a [model]".into(),
            )
        });
    };
    let base = match configured {
        Some(model) => model,
        None => default_model()?,
    };
    // Name and template of a configured model belong to that model's file.
    Ok(config::Model {
        name: None,
        chat_template: None,
        source,
        ..base
    })
}

/// The defaults of a `[model]`, as the configuration defines them.
fn default_model() -> Result<config::Model, Error> {
    let text = "[model]\nsource = \"synthetic\"\n";
    let config = Config::from_toml(text, Path::new("/"))
        .map_err(|problem| Error::Failed(problem.to_string()))?;
    config
        .model
        .ok_or_else(|| Error::Failed("the defaults name no model".into()))
}

fn report(json: bool, report: &serde_json::Value) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    if json {
        render::json_line(&mut out, report)?;
    } else {
        render::fields(&mut out, report)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_flag_has_help() {
        let command = Woolly::command();
        command.clone().debug_assert();
        for verb in command.get_subcommands() {
            for argument in verb.get_arguments() {
                assert!(argument.get_help().is_some(), "{}", argument.get_id());
            }
        }
    }

    fn parsed(line: &str) -> Run {
        let Verb::Run(args) = Woolly::try_parse_from(line.split(' ')).unwrap().verb;
        args
    }

    #[test]
    fn the_command_line_chooses_the_model() {
        let empty = Config::from_toml("", Path::new("/")).unwrap();
        let fast = model(&parsed("woolly run --fast-fp32 --prompt x"), &empty).unwrap();
        assert_eq!(fast.source, ModelSource::Synthetic(FAST_PRESET.sizes()));
        let file = model(&parsed("woolly run --model a.gguf --prompt x"), &empty).unwrap();
        assert_eq!(file.source, ModelSource::Gguf("a.gguf".into()));
        assert_eq!(
            model(&parsed("woolly run --prompt x"), &empty)
                .unwrap_err()
                .code(),
            2
        );
    }

    #[test]
    fn a_configured_synthetic_model_gives_its_sizes_to_fast_fp32() {
        let text =
            "[model]\nname = \"mine\"\nsource = \"synthetic\"\n[synthetic]\npreset = \"tiny\"\n";
        let config = Config::from_toml(text, Path::new("/")).unwrap();
        let fast = model(&parsed("woolly run --fast-fp32 --prompt x"), &config).unwrap();
        assert_eq!(fast.source, ModelSource::Synthetic(Preset::Tiny.sizes()));
        let own = model(&parsed("woolly run --prompt x"), &config).unwrap();
        assert_eq!(own.name.as_deref(), Some("mine"));
    }
}
