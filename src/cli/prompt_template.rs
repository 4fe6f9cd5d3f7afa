//! `--template`: a prompt with the columns of a record in it.
//!
//! `{name}` stands for a column, `{{` and `}}` for braces. Invariant: what a column holds is never looked
//! through for braces, so that no record can change the template.

use std::str::FromStr;

/// A parsed template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Column(String),
}

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    #[error("the {{ at character {0} is not closed; {{{{ stands for a brace")]
    Open(usize),
    #[error("the }} at character {0} closes nothing; }}}} stands for a brace")]
    Close(usize),
    #[error("the braces at character {0} name no column")]
    Nameless(usize),
    #[error("there is no {{column}} in it, so every prompt would be the same")]
    Constant,
}

impl Template {
    /// The template that is one column and nothing else.
    pub(super) fn column(name: &str) -> Self {
        Template(vec![Part::Column(name.to_owned())])
    }

    /// The columns it names, as often as it does.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Column(name) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }

    /// The prompt of a record whose columns `value` knows. The first column it does not know is the error.
    pub(super) fn render<E>(
        &self,
        mut value: impl FnMut(&str) -> Result<String, E>,
    ) -> Result<String, E> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Column(name) => text.push_str(&value(name)?),
            }
        }
        Ok(text)
    }
}

impl FromStr for Template {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut characters = (1..).zip(text.chars()).peekable();
        while let Some((at, character)) = characters.next() {
            let doubled = characters
                .next_if(|&(_, next)| matches!(character, '{' | '}') && next == character)
                .is_some();
            match character {
                '{' if !doubled => {
                    let name = name(&mut characters).ok_or(Problem::Open(at))?;
                    if name.is_empty() {
                        return Err(Problem::Nameless(at));
                    }
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    parts.push(Part::Column(name));
                }
                '}' if !doubled => return Err(Problem::Close(at)),
                character => plain.push(character),
            }
        }
        if parts.is_empty() {
            return Err(Problem::Constant);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Template(parts))
    }
}

/// The name up to its closing brace; `None` when there is none, or another one opens before it.
fn name(characters: &mut impl Iterator<Item = (usize, char)>) -> Option<String> {
    let mut name = String::new();
    for (_, character) in characters {
        match character {
            '}' => return Some(name),
            '{' => return None,
            character => name.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn render(template: &str) -> String {
        let template: Template = template.parse().unwrap();
        let value = |name: &str| Ok::<_, ()>(format!("<{name}>"));
        template.render(value).unwrap()
    }

    #[test]
    fn columns_stand_in_braces_and_braces_are_doubled() {
        assert_eq!(render("a {b} c{d e}"), "a <b> c<d e>");
        assert_eq!(render("{{b}} {{{b}}}"), "{b} {<b>}");
        assert_eq!(render("{a}{{"), "<a>{");
    }

    #[test]
    fn a_brace_that_is_alone_is_refused_with_its_place() {
        for (text, problem) in [
            ("ä{b", Problem::Open(2)),
            ("{a{b}", Problem::Open(1)),
            ("a}b", Problem::Close(2)),
            ("{}", Problem::Nameless(1)),
        ] {
            assert_eq!(text.parse::<Template>(), Err(problem), "{text}");
        }
    }

    #[test]
    fn a_template_without_a_column_is_refused() {
        for text in ["", "a", "{{a}}"] {
            assert_eq!(text.parse::<Template>(), Err(Problem::Constant), "{text}");
        }
    }

    #[test]
    fn a_column_that_is_not_there_is_the_error() {
        let template: Template = "{a}{b}".parse().unwrap();
        let value = |name: &str| match name {
            "a" => Ok("1".to_owned()),
            name => Err(name.to_owned()),
        };
        assert_eq!(template.render(value), Err("b".to_owned()));
        assert_eq!(template.columns().collect::<Vec<_>>(), ["a", "b"]);
    }

    proptest! {
        #[test]
        fn escaped_text_renders_as_itself(texts in prop::collection::vec("[{}a-cä\n]{0,6}", 2..6), value in "[{}x]{0,4}") {
            let escaped = |text: &String| text.replace('{', "{{").replace('}', "}}");
            let template = texts.iter().map(escaped).collect::<Vec<_>>().join("{column}");
            let template: Template = template.parse().unwrap();
            let rendered = template.render(|_| Ok::<_, ()>(value.clone())).unwrap();
            prop_assert_eq!(rendered, texts.join(&value));
        }

        #[test]
        fn any_text_is_a_template_or_refused(text in "[{}a ]{0,12}") {
            let _ = text.parse::<Template>();
        }
    }
}
