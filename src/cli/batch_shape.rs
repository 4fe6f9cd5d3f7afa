//! What the records of an input file mean: batch requests, prompts, or columns that prompts are made of.
//!
//! Decided once for a file, from flags, its name and its first line; then applied to every record.

use std::fs::File;
use std::path::Path;

use clap::Args;
use serde_json::{Map, Value};

use super::batch_columns::Columns;
use super::batch_input::At;
use super::batch_problem::Problem;
use super::batch_records::{Layout, Record, Records};
use super::prompt_template::Template;

const COMMAS: Layout = Layout::Table { separator: b',' };
const TABS: Layout = Layout::Table { separator: b'\t' };

/// How a file is meant. (The variants have plain comments: with help texts of their own, clap
/// would print every flag of the verb in its long form.)
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Format {
    // By name, first line, and whether columns are asked for.
    #[default]
    Auto,
    // OpenAI batch lines.
    Openai,
    // Every line that is not blank is a prompt.
    Plain,
    // A table with a header, its fields between commas.
    Csv,
    // The same between tabs.
    Tsv,
    // A JSON object a line, whose fields are columns.
    Jsonl,
}

/// The flags that say how the input is meant.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Input")]
pub(super) struct Reading {
    /// What the file is; auto: by the ending of its name (csv, tsv, jsonl, ndjson), else by its first line, and by
    /// whether a column is asked for
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) format: Format,

    /// The column that holds the prompts, of a table or of JSON objects
    #[arg(long, value_name = "NAME", conflicts_with = "template")]
    pub(super) column: Option<String>,

    /// The prompt, with columns in braces: "Translate: {text}"; {{ and }} stand for braces
    #[arg(long, value_name = "TEXT")]
    pub(super) template: Option<Template>,

    /// The column that names the answers, as custom_id; without it they are called line-7
    #[arg(long, value_name = "NAME")]
    pub(super) id_column: Option<String>,
}

impl Reading {
    fn asks_for_columns(&self) -> bool {
        self.column.is_some() || self.template.is_some() || self.id_column.is_some()
    }

    /// The format of a file of this name and first line. Never [`Format::Auto`].
    fn format(&self, path: &Path, first: Option<&(u64, String)>) -> Result<Format, Problem> {
        if self.format != Format::Auto {
            return Ok(self.format);
        }
        let ending = path.extension().unwrap_or_default().to_ascii_lowercase();
        let is_json = match ending.to_str() {
            Some("csv") => return Ok(Format::Csv),
            Some("tsv") => return Ok(Format::Tsv),
            Some("jsonl" | "ndjson") => true,
            _ => begins_with_an_object(first)?,
        };
        Ok(match (is_json, self.asks_for_columns()) {
            (true, true) => Format::Jsonl,
            (true, false) => Format::Openai,
            (false, true) => Format::Csv,
            (false, false) => Format::Plain,
        })
    }
}

/// A first line that only looks like an object is refused: its file is hardly one of prompts.
fn begins_with_an_object(first: Option<&(u64, String)>) -> Result<bool, Problem> {
    let Some((line, text)) = first.filter(|(_, text)| text.trim_start().starts_with('{')) else {
        return Ok(false);
    };
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(_) => Ok(true),
        Err(error) => Err(Problem::record(
            *line,
            format!(
                "it begins with a brace and is no JSON ({error}); --format plain takes it for a prompt"
            ),
        )),
    }
}

/// What every record of a file is.
#[derive(Debug)]
pub(super) enum Shape {
    /// A batch request.
    Requests,
    /// A prompt.
    Prompts,
    /// Fields that a prompt is made of.
    Records { layout: Layout, columns: Columns },
}

impl Shape {
    pub(super) fn of(file: &File, path: &Path, reading: &Reading) -> Result<Self, Problem> {
        let first = Records::new(At::start(file), Layout::Lines).next();
        let first = match first {
            Some(Ok((line, Record::Line(text)))) => Some((line, text)),
            // Whoever reads all of it says what is wrong with the line.
            _ => None,
        };
        let lines = |what, shape| match reading.asks_for_columns() {
            true => Err(Problem::ColumnsForLines { what }),
            false => Ok(shape),
        };
        let table = |layout: Layout| {
            let header = Records::new(At::start(file), layout).header()?;
            let columns = Columns::of(reading, header)?;
            Ok(Shape::Records { layout, columns })
        };
        match reading.format(path, first.as_ref())? {
            Format::Openai => lines("batch requests", Shape::Requests),
            Format::Plain | Format::Auto => lines("prompts", Shape::Prompts),
            Format::Csv => table(COMMAS),
            Format::Tsv => table(TABS),
            Format::Jsonl => table(Layout::Lines),
        }
    }

    pub(super) fn layout(&self) -> Layout {
        match self {
            Shape::Requests | Shape::Prompts => Layout::Lines,
            Shape::Records { layout, .. } => *layout,
        }
    }

    /// Whether ids come from the file, where one may stand twice.
    pub(super) fn names_its_lines(&self) -> bool {
        match self {
            Shape::Requests => true,
            Shape::Prompts => false,
            Shape::Records { columns, .. } => columns.id.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::batch_input::{Asked, Input, Request};
    use super::*;

    fn table(name: &str, text: &str, reading: &Reading) -> Result<Vec<(String, String)>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        let asked = Asked {
            reading: reading.clone(),
            ..Asked::default()
        };
        let input = Input::open(&path, dir.path(), &asked);
        let input = input.map_err(|problem| problem.to_string())?;
        let pair = |request: Result<Request, Problem>| {
            let request = request.unwrap();
            let job = request.job.unwrap();
            (
                request.custom_id,
                job.body["prompt"].as_str().unwrap().to_owned(),
            )
        };
        Ok(input.requests().map(pair).collect())
    }

    fn pairs(expected: &[(&str, &str)]) -> Result<Vec<(String, String)>, String> {
        let pair = |(id, prompt): &(&str, &str)| ((*id).to_owned(), (*prompt).to_owned());
        Ok(expected.iter().map(pair).collect())
    }

    fn column(name: &str) -> Reading {
        Reading {
            column: Some(name.to_owned()),
            ..Reading::default()
        }
    }

    #[test]
    fn a_table_gives_prompts_by_column_or_template_and_ids_by_column() {
        let text = "id,text,lang\na,\"one,\ntwo\",de\nb,{id},fr\n";
        let by_column = table("in.csv", text, &column("text"));
        assert_eq!(
            by_column,
            pairs(&[("line-2", "one,\ntwo"), ("line-4", "{id}")])
        );
        let reading = Reading {
            template: Some("To {lang}: {{{text}}}".parse().unwrap()),
            id_column: Some("id".into()),
            ..Reading::default()
        };
        let filled = table("in.csv", text, &reading);
        assert_eq!(
            filled,
            pairs(&[("a", "To de: {one,\ntwo}"), ("b", "To fr: {{id}}")])
        );
        let tabs = "id\ttext\tlang\na\tone,\tde\n";
        assert_eq!(
            table("in.tsv", tabs, &reading),
            pairs(&[("a", "To de: {one,}")])
        );
        let objects = "{\"id\": 7, \"text\": \"one\", \"lang\": \"de\"}\n\n";
        for name in ["in", "in.jsonl", "in.ndjson"] {
            let filled = table(name, objects, &reading);
            assert_eq!(filled, pairs(&[("7", "To de: {one}")]), "{name}");
        }
    }

    #[test]
    fn a_table_with_one_column_or_one_called_prompt_needs_no_flag() {
        let reading = Reading::default();
        assert_eq!(
            table("a.csv", "x\n1\n", &reading),
            pairs(&[("line-2", "1")])
        );
        let two = table("a.CSV", "x,prompt\n1,2\n", &reading);
        assert_eq!(two, pairs(&[("line-2", "2")]));
        assert_eq!(table("a.csv", "", &reading), pairs(&[]));
    }

    #[test]
    fn a_file_of_json_is_not_taken_for_prompts_because_its_first_line_is_broken() {
        let none = Reading::default();
        for (name, text) in [("a", "{\"x\": \n"), ("a", " {x}\n"), ("a.jsonl", "x\n")] {
            let refused = table(name, text, &none).unwrap_err();
            assert!(refused.starts_with("line 1: "), "{refused}");
            assert!(refused.contains("JSON"), "{refused}");
        }
        let refused = table("a", "\n{x}\n", &column("x")).unwrap_err();
        assert!(refused.starts_with("line 2: "), "{refused}");
        let plain = Reading {
            format: Format::Plain,
            ..none
        };
        assert_eq!(table("a", "{x}\n", &plain), pairs(&[("line-1", "{x}")]));
    }

    #[test]
    fn columns_that_are_missing_or_hold_no_text_are_named() {
        let refused =
            |name: &str, text: &str, reading: &Reading| table(name, text, reading).unwrap_err();
        let none = Reading::default();
        let which = refused("a.csv", "x,y\n1,2\n", &none);
        assert!(
            which.contains("--column") && which.ends_with("\"x\", \"y\""),
            "{which}"
        );
        let missing = refused("a.csv", "x,y\n1,2\n", &column("z"));
        assert_eq!(missing, "it has no column \"z\"; there are \"x\", \"y\"");
        let twice = refused("a.csv", "x,x\n1,2\n", &column("x"));
        assert_eq!(twice, "it has more than one column \"x\"");
        let missing = refused("a", "{\"x\": \"1\"}\n{\"y\": 1}\n", &column("x"));
        assert_eq!(missing, "line 2: it has no \"x\"");
        let null = refused("a", "{\"x\": null}\n", &column("x"));
        assert_eq!(null, "line 1: \"x\" is null; expected text");
        let array = Reading {
            format: Format::Jsonl,
            ..none
        };
        assert_eq!(
            refused("a", "[1]\n", &array),
            "line 1: it is no JSON object"
        );
        let ids = Reading {
            id_column: Some("x".into()),
            ..column("y")
        };
        let twice = refused("a.csv", "x,y\n1,2\n1,3\n", &ids);
        assert_eq!(twice, "line 3: custom_id \"1\" was used before, in line 2");
        let empty = refused("a.csv", "x,y\n,2\n", &ids);
        assert_eq!(empty, "line 2: \"x\" is empty, and is to name the answer");
        let plain = Reading {
            format: Format::Plain,
            ..column("x")
        };
        assert!(refused("a", "x\n1\n", &plain).contains("--format csv"));
    }
}
