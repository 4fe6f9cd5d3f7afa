//! The keys of a TOML text with their lines and values as written, before any type is checked.
//!
//! It exists because an error should name the key, the line and the text that was given, which a
//! deserializer alone does not tell.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Error, Place};
use super::keys::{self, Kind};

/// Where each key stands.
#[derive(Debug, Default)]
pub(super) struct Outline {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    line: usize,
    value: Range<usize>,
    /// The value as written.
    given: String,
}

impl Outline {
    /// Fails on text that is not TOML and on keys that are not in the table of keys.
    pub(super) fn read(text: &str) -> Result<Self, Error> {
        let table = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
        let mut outline = Outline::default();
        outline.walk(text, "", table.get_ref())?;
        Ok(outline)
    }

    fn walk(&mut self, text: &str, prefix: &str, table: &DeTable<'_>) -> Result<(), Error> {
        for (key, value) in table.iter() {
            let name = match prefix {
                "" => key.get_ref().to_string(),
                _ => format!("{prefix}.{}", key.get_ref()),
            };
            let line = line_of(text, key.span().start);
            let given = written(text, value);
            let place = Place {
                path: None,
                line: Some(line),
            };
            let children = value.get_ref().as_table();
            match (keys::kind(&name), children) {
                (Kind::Unknown, _) => {
                    let nearest = keys::nearest(&name, children.is_some());
                    return Err(Error::UnknownKey {
                        place,
                        key: name,
                        nearest,
                    });
                }
                (Kind::Table, None) => {
                    let expected = keys::expected(&name).to_owned();
                    return Err(Error::Value {
                        place,
                        key: name,
                        given,
                        expected,
                    });
                }
                (_, Some(children)) if keys::has_children(&name) => {
                    self.walk(text, &name, children)?
                }
                _ => {}
            }
            self.entries.insert(
                name,
                Entry {
                    line,
                    value: value.span(),
                    given,
                },
            );
        }
        Ok(())
    }

    /// The error for a value of the wrong type that the deserializer found at `span`.
    pub(super) fn wrong_type(&self, text: &str, error: &toml::de::Error) -> Error {
        let at = error.span().unwrap_or_default();
        let innermost = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.value.start <= at.start && at.end <= entry.value.end)
            .min_by_key(|(_, entry)| entry.value.len());
        match innermost {
            Some((key, _)) => self.value(key, keys::expected(key)),
            None => syntax(text, error),
        }
    }

    /// The error for a written value that is out of range.
    pub(super) fn value(&self, key: &str, expected: impl Into<String>) -> Error {
        let given = self
            .entries
            .get(key)
            .map_or("missing", |entry| entry.given.as_str());
        Error::Value {
            place: self.place(key),
            key: key.to_owned(),
            given: given.to_owned(),
            expected: expected.into(),
        }
    }

    /// An error about `key` that is not about its value.
    pub(super) fn structure(&self, key: &str, message: impl Into<String>) -> Error {
        Error::Structure {
            place: self.place(key),
            message: message.into(),
        }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    fn place(&self, key: &str) -> Place {
        Place {
            path: None,
            line: self.entries.get(key).map(|entry| entry.line),
        }
    }
}

fn syntax(text: &str, error: &toml::de::Error) -> Error {
    let line = error.span().map(|span| line_of(text, span.start));
    // The parser may explain itself over several lines; an error here is one sentence.
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    Error::Syntax {
        place: Place { path: None, line },
        message,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text
        .bytes()
        .take(offset)
        .filter(|&byte| byte == b'\n')
        .count()
}

/// The value's own text, cut to what fits a sentence.
fn written(text: &str, value: &Spanned<DeValue<'_>>) -> String {
    const LONGEST: usize = 60;
    let written = text.get(value.span()).unwrap_or_default();
    let first_line = written.lines().next().unwrap_or_default();
    match first_line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", first_line.get(..end).unwrap_or_default()),
        None => first_line.to_owned(),
    }
}
