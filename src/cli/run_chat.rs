//! `woolly run --interactive`: a conversation, line by line.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use signal_hook::consts::SIGINT;

use crate::job::SamplingParams;
use crate::text::Message;

use super::run::{Run, message};
use super::run_session::Session;
use super::{Error, render, run_report};

/// What a line of input asks for.
#[derive(Debug, PartialEq, Eq)]
enum Line<'a> {
    Nothing,
    Reset,
    Quit,
    Unknown(&'a str),
    Say(&'a str),
}

fn meaning(line: &str) -> Line<'_> {
    let line = line.trim();
    match line {
        "" => Line::Nothing,
        "/reset" => Line::Reset,
        "/quit" | "/exit" => Line::Quit,
        // A message may begin with a path; a single word is a command that was mistyped.
        _ if line.starts_with('/') && line[1..].chars().all(|c| c.is_ascii_lowercase()) => {
            Line::Unknown(line)
        }
        _ => Line::Say(line),
    }
}

/// Talks until the input ends. `first` is a message to begin with.
pub(super) fn run(
    session: &Session,
    params: &SamplingParams,
    system: Option<&str>,
    first: Option<String>,
    args: &Run,
) -> Result<(), Error> {
    let failed =
        |problem: &dyn std::fmt::Display| Error::Failed(format!("cannot read lines: {problem}"));
    let mut editor = DefaultEditor::new().map_err(|problem| failed(&problem))?;
    // While an answer is generated, Ctrl-C ends the answer; the line editor handles its own.
    let cancelled = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGINT, Arc::clone(&cancelled))
        .map_err(|problem| failed(&problem))?;
    let terminal = io::stdin().is_terminal();
    if terminal {
        render::say(format_args!(
            "{}; /reset forgets the conversation, /quit or Ctrl-D ends it",
            session.loaded.info.name
        ));
    }

    let beginning: Vec<Message> = system
        .map(|text| message("system", text.to_owned()))
        .into_iter()
        .collect();
    let mut messages = beginning.clone();
    let mut pending = first;
    loop {
        let line = match pending.take() {
            Some(line) => line,
            None => match editor.readline(if terminal { "> " } else { "" }) {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(problem) => return Err(failed(&problem)),
            },
        };
        match meaning(&line) {
            Line::Nothing => continue,
            Line::Quit => return Ok(()),
            Line::Reset => messages.clone_from(&beginning),
            Line::Unknown(command) => render::say(format_args!(
                "{command} is no command; there are /reset and /quit"
            )),
            Line::Say(text) => {
                // The history is in memory only; a line that does not fit into it is no loss.
                let _ = editor.add_history_entry(text);
                messages.push(message("user", text.to_owned()));
                cancelled.store(false, Ordering::Relaxed);
                match answer(session, params, &messages, &cancelled, args) {
                    Ok(text) => messages.push(message("assistant", text)),
                    Err(Error::Failed(problem)) => {
                        messages.pop();
                        render::say(format_args!("{problem}; /reset makes room"));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

/// Generates and prints one answer.
fn answer(
    session: &Session,
    params: &SamplingParams,
    messages: &[Message],
    cancelled: &Arc<AtomicBool>,
    args: &Run,
) -> Result<String, Error> {
    let prompt = session.encode_chat(messages)?;
    let mut out = io::stdout().lock();
    let mut on_text = |text: &str| {
        if !args.json() {
            out.write_all(text.as_bytes())?;
            out.flush()?;
        }
        Ok(())
    };
    let generated = session.generate(prompt, params, cancelled, &mut on_text)?;
    if args.json() {
        render::json_line(&mut out, &run_report::answer(session, &generated))?;
    } else {
        writeln!(out)?;
    }
    if args.timing() {
        render::say(run_report::timing(session, &generated).trim_end());
    }
    Ok(generated.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_told_from_messages() {
        assert_eq!(meaning("  "), Line::Nothing);
        assert_eq!(meaning("/reset "), Line::Reset);
        assert_eq!(meaning("/quit"), Line::Quit);
        assert_eq!(meaning("/rest"), Line::Unknown("/rest"));
        assert_eq!(
            meaning("/etc/passwd, what is it?"),
            Line::Say("/etc/passwd, what is it?")
        );
        assert_eq!(meaning(" hello "), Line::Say("hello"));
    }
}
