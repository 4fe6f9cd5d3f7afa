//! The command line of `woollyctl`: one subcommand for each verb, and the flags they share.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::api::raise_file_limit;
use crate::bench;

use super::client::Client;
use super::reconnect::Link;
use super::{
    Error, batch, batch_fetch, batch_remote, cache, cancel, error, follow, health, list, model,
    queue, queue_check, render, settings, status, submit, wait,
};

/// How long a client waits for a daemon that went away while it was talking to it. Longer than a restart
/// that maps an existing cache, and than most that build one.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a daemon that is there may take to answer what it only has to look up. One that was stopped, or whose
/// machine thrashes, answers nobody.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Talk to woollyd, the daemon that works through a queue of prompts
#[derive(Debug, Parser)]
#[command(
    name = "woollyctl",
    version,
    propagate_version = true,
    after_help = "Exit codes: 0 done, 1 failed, 2 usage, 3 cannot connect, 4 refused.

The socket is --socket, else $WOOLLY_HOST (unix:///path/of/the.sock), else where a daemon of this user listens."
)]
pub struct Ctl {
    /// The daemon's Unix socket
    #[arg(long, global = true, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Print JSON: one object, or one object a line
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Hand in prompts and print what the model makes of them
    Submit(submit::Submit),
    /// Show one job, or the daemon as a whole
    Status(status::Status),
    /// List jobs, newest first
    List(list::List),
    /// Wait until jobs have ended
    Wait(wait::Wait),
    /// Print the text of a job from its beginning, as it comes
    Follow(follow::Follow),
    /// Cancel jobs
    Cancel(cancel::Cancel),
    /// Work through a file of prompts
    #[command(subcommand)]
    Batch(batch::Batch),
    /// Stop and start the work of the daemon, back its queue up, check it
    #[command(subcommand)]
    Queue(queue::Queue),
    /// Prepare and list FP32 cache files; needs no daemon
    #[command(subcommand)]
    Cache(cache::Cache),
    /// Look at model files; needs no daemon
    #[command(subcommand)]
    Model(model::Model),
    /// Measure this machine; needs no daemon
    #[command(subcommand)]
    Bench(bench::Verb),
    /// Tell whether jobs are being served
    Health(health::Health),
}

impl Verb {
    /// Whether every request of it is; the others wait for the disk, for jobs, or for bytes.
    fn is_answered_at_once(&self) -> bool {
        match self {
            Verb::Health(_) | Verb::Status(_) | Verb::List(_) | Verb::Cancel(_) => true,
            Verb::Queue(verb) => !matches!(verb, queue::Queue::Backup { .. }),
            _ => false,
        }
    }
}

impl Ctl {
    /// Does what the command line says.
    pub fn run(self) -> ExitCode {
        let json = self.json;
        error::exit("woollyctl", json, self.dispatch())
    }

    fn dispatch(self) -> Result<(), Error> {
        match self.verb {
            Verb::Cache(verb) => return cache::run(verb, self.json),
            Verb::Bench(verb) => return measure(&verb, self.json),
            Verb::Model(verb) => return model::run(&verb, self.json),
            _ => {}
        }
        // Refused, the limit stays what it was, and running into it is told.
        let _ = raise_file_limit();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|problem| Error::Failed(format!("cannot start: {problem}")))?;
        if let Verb::Queue(queue::Queue::Check(args)) = self.verb {
            return runtime.block_on(queue_check::run(args, self.json));
        }
        let socket = settings::socket(self.socket.as_deref())?;
        let client = Client::new(socket);
        let client = match self.verb.is_answered_at_once() {
            true => client.answering_within(ANSWER_LIMIT),
            false => client,
        };
        // Batch lines run side by side on this one thread and share what is not thread-safe.
        tokio::task::LocalSet::new().block_on(&runtime, talk(self.verb, client, self.json))
    }
}

fn measure(verb: &bench::Verb, json: bool) -> Result<(), Error> {
    let text = verb.run(&["bench"], json);
    let text = text.map_err(|problem| Error::Failed(problem.to_string()))?;
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

async fn talk(verb: Verb, client: Client, json: bool) -> Result<(), Error> {
    let say = Box::new(|line: &str| render::say(format_args!("woollyctl: {line}")));
    let link = Link::new(client, PATIENCE, say);
    match verb {
        Verb::Batch(verb) => talk_of_batches(verb, &link, json).await,
        Verb::Submit(args) => submit::run(&link, args, json).await,
        Verb::Status(args) => status::run(&link, args, json).await,
        Verb::List(args) => list::run(&link, args, json).await,
        Verb::Wait(args) => wait::run(&link, args, json).await,
        Verb::Follow(args) => follow::run(&link, args, json).await,
        Verb::Cancel(args) => cancel::run(&link, args, json).await,
        Verb::Queue(verb) => queue::run(&link, verb, json).await,
        Verb::Health(health::Health {}) => health::run(&link, json).await,
        // Handled above, or before a connection is thought of.
        Verb::Cache(_) | Verb::Bench(_) | Verb::Model(_) => Ok(()),
    }
}

async fn talk_of_batches(verb: batch::Batch, link: &Link, json: bool) -> Result<(), Error> {
    let client = link.client();
    match verb {
        // These have a patience of their own.
        batch::Batch::Run(args) => batch::run(client.clone(), *args, json).await,
        batch::Batch::Fetch(args) => batch_fetch::run(client.clone(), args, json).await,
        batch::Batch::Submit(args) => batch_remote::submit(link, args, json).await,
        batch::Batch::Status(args) => batch_remote::status(client, args, json).await,
        batch::Batch::Cancel(args) => batch_remote::cancel(client, args, json).await,
        batch::Batch::Delete(args) => batch_remote::delete(client, &args, json).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Ctl::command().debug_assert();
    }

    #[test]
    fn verbs_that_wait_have_no_limit() {
        let at_once = |arguments: &[&str]| {
            let words = [&["woollyctl"], arguments].concat();
            Ctl::parse_from(words).verb.is_answered_at_once()
        };
        for verb in [
            ["health"].as_slice(),
            &["status"],
            &["status", "1"],
            &["list"],
            &["cancel", "1"],
            &["queue", "pause"],
            &["queue", "resume"],
            &["queue", "drain"],
        ] {
            assert!(at_once(verb), "{verb:?}");
        }
        for verb in [
            ["submit", "hi"].as_slice(),
            &["wait", "1"],
            &["follow", "1"],
            &["queue", "backup", "b.tar"],
        ] {
            assert!(!at_once(verb), "{verb:?}");
        }
    }

    #[test]
    fn every_verb_and_every_flag_has_help() {
        fn check(command: &clap::Command) {
            assert!(
                command.get_about().is_some(),
                "{} says nothing of itself",
                command.get_name()
            );
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} {}",
                    command.get_name(),
                    argument.get_id()
                );
            }
            for verb in command.get_subcommands() {
                check(verb);
                if !verb.has_subcommands() {
                    let example = verb
                        .get_after_help()
                        .map(ToString::to_string)
                        .unwrap_or_default();
                    let call = format!("woollyctl {}", command.get_name().replace("woollyctl", ""));
                    assert!(
                        example.contains(call.trim_end()),
                        "{} has no example",
                        verb.get_name()
                    );
                }
            }
        }
        check(&Ctl::command());
    }
}
