//! The prompt that a record makes, and its name: out of the fields of a row, or of a JSON object.

use std::collections::HashMap;

use csv::StringRecord;
use serde_json::value::RawValue;

use super::batch_problem::Problem;
use super::batch_records::Record;
use super::batch_shape::Reading;
use super::prompt_template::Template;

/// The column of prompts when none is named.
const PROMPT: &str = "prompt";

/// Which fields of a record make the prompt and its name.
#[derive(Debug)]
pub(super) struct Columns {
    /// Of a table; JSON objects have names of their own.
    header: Option<StringRecord>,
    prompt: Template,
    /// The field that names the answer.
    pub(super) id: Option<String>,
}

impl Columns {
    pub(super) fn of(reading: &Reading, header: Option<StringRecord>) -> Result<Self, Problem> {
        let named = match (&reading.template, &reading.column) {
            (Some(template), _) => Some(template.clone()),
            (None, Some(name)) => Some(Template::column(name)),
            (None, None) => None,
        };
        let columns = Columns {
            prompt: named.or_else(|| unasked(header.as_ref())).ok_or_else(|| {
                Problem::WhichColumn {
                    there: quoted(header.as_ref()),
                }
            })?,
            header,
            id: reading.id_column.clone(),
        };
        if let Some(header) = &columns.header {
            columns.check(header)?;
        }
        Ok(columns)
    }

    /// An empty file has no header and needs none.
    fn check(&self, header: &StringRecord) -> Result<(), Problem> {
        let names = self.prompt.columns().chain(self.id.as_deref());
        for name in names.filter(|_| !header.is_empty()) {
            let name = name.to_owned();
            match header.iter().filter(|there| **there == name).count() {
                0 => {
                    let there = quoted(Some(header));
                    return Err(Problem::NoColumn { name, there });
                }
                1 => {}
                _ => return Err(Problem::SameColumns { name }),
            }
        }
        Ok(())
    }

    /// The prompt that a record makes and, if it has one, its name.
    pub(super) fn read(&self, record: &Record) -> Result<(String, Option<String>), String> {
        match (record, &self.header) {
            (Record::Row(row), Some(header)) => self.fill(|name| {
                let at = header.iter().position(|there| there == name);
                let field = at.and_then(|at| row.get(at));
                field.map(str::to_owned).ok_or_else(|| missing(name))
            }),
            (Record::Row(_), None) => Err("a row without a header".into()),
            (Record::Line(text), _) => {
                let object: HashMap<String, &RawValue> =
                    serde_json::from_str(text).map_err(|_| "it is no JSON object".to_owned())?;
                self.fill(|name| written(name, object.get(name).ok_or_else(|| missing(name))?))
            }
        }
    }

    fn fill(
        &self,
        value: impl Fn(&str) -> Result<String, String>,
    ) -> Result<(String, Option<String>), String> {
        let prompt = self.prompt.render(&value)?;
        let id = self.id.as_ref().map(|name| match value(name)? {
            id if id.is_empty() => Err(format!("{name:?} is empty, and is to name the answer")),
            id => Ok(id),
        });
        Ok((prompt, id.transpose()?))
    }
}

/// A field of a JSON object as text. Numbers stay as they are written: no type of number holds all of them, and two long
/// ids would become one.
fn written(name: &str, value: &RawValue) -> Result<String, String> {
    let what = match value.get().as_bytes().first() {
        Some(b'"') => {
            let text = serde_json::from_str(value.get());
            return text.map_err(|problem| format!("{name:?} is no text: {problem}"));
        }
        Some(b'n') => "null",
        Some(b'[') => "an array",
        Some(b'{') => "an object",
        _ => return Ok(value.get().to_owned()),
    };
    Err(format!("{name:?} is {what}; expected text"))
}

/// The prompts of a table that nobody was asked about: the only column, or the one with that name.
fn unasked(header: Option<&StringRecord>) -> Option<Template> {
    match header {
        Some(header) if header.len() == 1 => header.get(0).map(Template::column),
        Some(header) if header.len() > 1 && !header.iter().any(|name| name == PROMPT) => None,
        _ => Some(Template::column(PROMPT)),
    }
}

fn missing(name: &str) -> String {
    format!("it has no {name:?}")
}

fn quoted(header: Option<&StringRecord>) -> String {
    let names = header.into_iter().flatten().map(|name| format!("{name:?}"));
    names.collect::<Vec<_>>().join(", ")
}
