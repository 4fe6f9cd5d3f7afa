//! Conversations to prompts with the model's own Jinja template.
//!
//! Templates are written for Python's Jinja with the settings of the `transformers` library: blocks
//! swallow the line break behind them, Python string methods exist, `raise_exception` refuses a
//! conversation. They come from model files, so their steps, depth and output are bounded.
//!
//! Invariant: the same messages give the same prompt for ever. There is no clock: templates that ask
//! for today's date get one fixed day.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use crate::weights::Metadata;

use super::control_guard;
use super::methods;
use super::namespace;
use super::templates;
use super::tokenizer::MAX_TEXT_BYTES;
use super::{Error, Tokenizer};

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    pub role: String,
    pub content: String,
}

/// Steps of one rendering: one for an instruction, and one for each 64 bytes that it makes. A conversation
/// of a thousand messages takes about a hundred thousand. It bounds memory too: to 48 MiB.
const FUEL: u64 = 750_000;
/// Nested blocks, calls and expressions. The library's own limit inside of one expression is 150.
const RECURSION: usize = 200;
/// The library compiles and prints by recursion. A chain of operators is as deep as it is long, and every
/// level takes up to 1.2 KiB of stack; values are nested up to the levels of recursion times those of one
/// expression. What is not used of it takes no memory.
const STACK: usize = 128 << 20;
/// Longest template; real ones have up to 30,000 bytes.
const MAX_TEMPLATE_BYTES: usize = 64 << 10;
const NAME: &str = "chat";

/// A compiled template.
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Looked through when a sentinel is chosen.
    source: String,
}

impl ChatTemplate {
    /// `override_source` (or the name of a built-in such as `chatml`) wins over the file's template;
    /// without either, chatml.
    pub fn new(metadata: &Metadata, override_source: Option<&str>) -> Result<Self, Error> {
        let key = "tokenizer.chat_template";
        let own = metadata.string(key).map_err(Error::TemplateKey)?;
        let source = match override_source {
            Some(text) if text.contains('{') => text,
            Some(name) => templates::find(name.trim()).ok_or_else(|| {
                Error::Template(format!(
                    "{name:?} is neither a Jinja template nor a built-in one ({})",
                    templates::names()
                ))
            })?,
            None => own.unwrap_or(templates::CHATML),
        };
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(Error::TemplateLength {
                length: source.len(),
                limit: MAX_TEMPLATE_BYTES,
            });
        }
        let environment = deep(|| compile(source))?;
        Ok(ChatTemplate {
            environment,
            source: source.to_owned(),
        })
    }

    /// The prompt as text, generation prompt included.
    pub fn render(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<String, Error> {
        let values = context! {
            messages => messages.iter().map(message_value).collect::<Value>(),
            add_generation_prompt => true,
            bos_token => self::token(tokenizer, tokenizer.bos()),
            eos_token => self::token(tokenizer, tokenizer.eos()),
            tools => (),
            documents => (),
        };
        deep(|| self.render_values(values))
    }

    fn render_values(&self, values: Value) -> Result<String, Error> {
        let template = self
            .environment
            .get_template(NAME)
            .map_err(|error| refusal(&error))?;
        let mut output = Bounded::default();
        let rendered = template.render_captured_to(values, &mut output).map(drop);
        if output.full {
            return Err(Error::TemplateOutput {
                limit: MAX_TEXT_BYTES,
            });
        }
        rendered.map_err(|error| refusal(&error))?;
        String::from_utf8(output.bytes).map_err(|error| Error::Template(error.to_string()))
    }

    /// The prompt as tokens. Control tokens inside message content stay text: only the template's own
    /// text may produce them. BOS comes first where the tokenizer adds it and the template has not;
    /// EOS is never added, because the answer follows.
    pub fn encode(&self, tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<u32>, Error> {
        let texts = messages
            .iter()
            .flat_map(|m| [m.role.as_str(), m.content.as_str()]);
        let sentinel = control_guard::choose_sentinel(texts.chain([self.source.as_str()]))
            .ok_or_else(|| {
                Error::Template(
                    "the messages use every noncharacter from U+FDD0 to U+FDEF".to_owned(),
                )
            })?;
        let mut ids = match control_guard::protect(tokenizer, messages, sentinel) {
            None => tokenizer.encode(&self.render(tokenizer, messages)?, false, true)?,
            Some(protected) => {
                let rendered = self.render(tokenizer, &protected)?;
                control_guard::encode(tokenizer, &rendered, sentinel)?
            }
        };
        if let Some(bos) = tokenizer.bos().filter(|_| tokenizer.adds_bos())
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        Ok(ids)
    }
}

/// Runs `work` on a thread with room for what a template may nest.
fn deep<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("woolly-template".to_owned())
            .stack_size(STACK);
        let thread = thread.spawn_scoped(scope, work);
        let thread = thread.map_err(|error| Error::Template(error.to_string()))?;
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn compile(source: &str) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    let whitespace = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build();
    environment.set_syntax(whitespace.map_err(|error| refusal(&error))?);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(methods::call);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
    namespace::install(&mut environment);
    environment
        .add_template_owned(NAME, namespace::rewrite(source))
        .map_err(|error| refusal(&error))?;
    Ok(environment)
}

fn token(tokenizer: &Tokenizer, id: Option<u32>) -> &str {
    id.map_or("", |id| tokenizer.name(id))
}

fn message_value(message: &Message) -> Value {
    Value::from_pairs([
        ("role", message.role.as_str()),
        ("content", message.content.as_str()),
    ])
}

/// Collects the output and refuses to grow above [`MAX_TEXT_BYTES`].
#[derive(Default)]
struct Bounded {
    bytes: Vec<u8>,
    full: bool,
}

impl io::Write for Bounded {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        self.full = self.full || self.bytes.len() + chunk.len() > MAX_TEXT_BYTES;
        if self.full {
            return Err(io::Error::other("the output is too long"));
        }
        self.bytes.extend_from_slice(chunk);
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Which bound the template hit, or its own words.
fn refusal(error: &minijinja::Error) -> Error {
    // The library has no kind of its own for these two.
    let too_deep = error.detail().is_some_and(|detail| {
        detail.contains("recursion limit exceeded")
            || detail.contains("maximum recursion limits")
            || detail == namespace::TOO_DEEP
    });
    match error.kind() {
        ErrorKind::OutOfFuel => Error::TemplateSteps { limit: FUEL },
        _ if too_deep => Error::TemplateDepth { limit: RECURSION },
        _ => Error::Template(sentence(error)),
    }
}

/// What the template says itself when it refuses, else what is wrong with it and where.
fn sentence(error: &minijinja::Error) -> String {
    match (error.detail(), error.line()) {
        (Some(detail), _) if error.kind() == ErrorKind::InvalidOperation => detail.to_owned(),
        (_, Some(line)) => format!("line {line}: {error}"),
        _ => error.to_string(),
    }
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// Python's `strftime` of one fixed moment, Friday 26 July 2024, 00:00: the date that Llama's own
/// templates fall back to. The real date would make the tokens of a job depend on when it runs.
fn strftime_now(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut characters = format.chars();
    while let Some(c) = characters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        // Python's `%-d` is `%d` without padding; the fixed date has none to drop but in the month.
        let directive = match characters.next() {
            Some('-') => characters.next(),
            other => other,
        };
        match directive {
            Some('Y') => out.push_str("2024"),
            Some('y') => out.push_str("24"),
            Some('m') => out.push_str("07"),
            Some('B') => out.push_str("July"),
            Some('b' | 'h') => out.push_str("Jul"),
            Some('d' | 'e') => out.push_str("26"),
            Some('A') => out.push_str("Friday"),
            Some('a') => out.push_str("Fri"),
            Some('H' | 'M' | 'S') => out.push_str("00"),
            Some('F') => out.push_str("2024-07-26"),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_fixed_and_unknown_directives_stay() {
        assert_eq!(strftime_now("%d %b %Y"), "26 Jul 2024");
        assert_eq!(
            strftime_now("%A, %-d %B %H:%M 100%% %Q %"),
            "Friday, 26 July 00:00 100% %Q %"
        );
    }
}
