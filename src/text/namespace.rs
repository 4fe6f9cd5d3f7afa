//! Namespaces of chat templates that cannot be made to hold themselves.
//!
//! `{% set ns.x = value %}` is the one way in which a template changes a value, so it is the one way to make
//! a value that contains itself, or one that is nested as deep as a loop is long. Printing or comparing such
//! a value overflows the stack inside of the library, which ends the process. So the library's own namespace
//! is replaced by this one, whose assignments are function calls: [`rewrite`] turns the tags into
//! `{% do ... %}`, and the function refuses what is nested too deep.
//!
//! Invariant: an assignment that [`rewrite`] does not know stays a `set`, which the library refuses for
//! values that are not its own namespaces. A mistake here is an error, never a way around.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Kwargs, Object, ObjectRepr, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, Value};

/// The function that an assignment becomes. No template can name it: it is no identifier of Python.
const SET: &str = "__woolly_set";
/// Lists in lists and the like.
const MAX_DEPTH: usize = 32;
/// Looking through a list for its depth costs little for each item, but not nothing.
const ITEMS_PER_FUEL: u64 = 8;
/// What the error of a value nested deeper is recognized by.
pub(super) const TOO_DEEP: &str = "a namespace holds a namespace, or lists nested too deep";

/// Puts the replacement into `environment`.
pub(super) fn install(environment: &mut Environment) {
    environment.add_function("namespace", namespace);
    environment.add_function(SET, set);
}

/// Prints as its name only, whatever it holds.
#[derive(Debug, Default)]
struct Namespace(Mutex<BTreeMap<String, Value>>);

impl Object for Namespace {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::NonEnumerable
    }

    fn render(self: &Arc<Self>, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<namespace>")
    }
}

impl Namespace {
    fn set(&self, state: &State, key: &str, value: Value) -> Result<(), Error> {
        let visited = check(&value, 0)?;
        state.consume_fuel(visited / ITEMS_PER_FUEL)?;
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        values.insert(key.to_owned(), value);
        Ok(())
    }
}

/// How many values there are in `value`, unless they are nested too deep.
fn check(value: &Value, depth: usize) -> Result<u64, Error> {
    if depth > MAX_DEPTH || value.downcast_object_ref::<Namespace>().is_some() {
        return Err(Error::new(ErrorKind::InvalidOperation, TOO_DEEP));
    }
    let mut visited = 1;
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            for item in value.try_iter()? {
                visited += check(&item, depth + 1)?;
            }
        }
        ValueKind::Map => {
            for key in value.try_iter()? {
                visited += check(&value.get_item(&key)?, depth + 1)?;
            }
        }
        _ => {}
    }
    Ok(visited)
}

/// `namespace(a=1)`, as in the library; of arguments without a name, a mapping.
fn namespace(state: &State, defaults: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let space = Namespace::default();
    for mapping in defaults.iter() {
        for key in mapping.try_iter()? {
            let name = key.as_str().unwrap_or_default().to_owned();
            space.set(state, &name, mapping.get_item(&key)?)?;
        }
    }
    for key in named.args() {
        space.set(state, key, named.get(key)?)?;
    }
    named.assert_all_used()?;
    Ok(Value::from_object(space))
}

fn set(state: &State, target: Value, key: String, value: Value) -> Result<Value, Error> {
    match target.downcast_object_ref::<Namespace>() {
        Some(space) => space.set(state, &key, value).map(|()| Value::from(())),
        None => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("can only assign to namespaces, not {}", target.kind()),
        )),
    }
}

/// The template with every `{% set name.attribute = value %}` as a call of [`SET`].
pub(super) fn rewrite(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find('{') {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let end = match tag.as_bytes().get(1) {
            Some(b'#') => tag.find("#}").map(|end| end + 2),
            Some(b'{') => code_end(tag, "}}"),
            Some(b'%') => code_end(tag, "%}"),
            _ => Some(1),
        };
        // A tag without end is for the library to refuse.
        let (tag, after) = tag.split_at(end.unwrap_or(tag.len()));
        match assignment(tag) {
            Some(call) => out.push_str(&call),
            None => out.push_str(tag),
        }
        rest = after;
        if is_raw(tag) {
            // Up to the tag that ends it, which is then a tag as any other.
            let end = rest.find("endraw").unwrap_or(rest.len());
            let (raw, after) = rest.split_at(end);
            out.push_str(raw);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Where a tag ends that `close` ends outside of strings.
fn code_end(tag: &str, close: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in tag.char_indices().skip(2) {
        match (quote, c) {
            _ if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, _) if tag[at..].starts_with(close) => return Some(at + close.len()),
            (None, _) => {}
        }
    }
    None
}

fn is_raw(tag: &str) -> bool {
    tag.strip_prefix("{%").is_some_and(|tag| {
        tag.trim_start_matches(['-', '+'])
            .trim_start()
            .starts_with("raw")
    })
}

fn assignment(tag: &str) -> Option<String> {
    let inside = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let marks = |text: &str| text.len() - text.trim_start_matches(['-', '+']).len();
    let (open, inside) = inside.split_at(marks(inside).min(1));
    let close = inside.strip_suffix(['-', '+']).map_or(0, |_| 1);
    let (inside, close) = inside.split_at(inside.len() - close);
    let code = inside.trim_start().strip_prefix("set")?;
    let target = code.strip_prefix(char::is_whitespace)?.trim_start();
    let (name, target) = identifier(target)?;
    let (attribute, target) = identifier(target.trim_start().strip_prefix('.')?.trim_start())?;
    let value = target.trim_start().strip_prefix('=')?;
    if value.starts_with('=') {
        return None;
    }
    // Line breaks stay, so that errors name the line they would.
    let lines = "\n".repeat(tag.matches('\n').count() - value.matches('\n').count());
    Some(format!(
        "{{%{open}{lines} do {SET}({name}, '{attribute}', ({value})) {close}%}}"
    ))
}

fn identifier(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let first = name.chars().next()?;
    (!first.is_ascii_digit()).then_some((name, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_become_calls_and_nothing_else_changes() {
        for (tag, call) in [
            (
                "{% set ns.x = ns.x + 1 %}",
                "{% do __woolly_set(ns, 'x', ( ns.x + 1 )) %}",
            ),
            (
                "{%- set a . b='%}' -%}",
                "{%- do __woolly_set(a, 'b', ('%}' )) -%}",
            ),
            (
                "{%+ set\nns.x = [\n1] %}",
                "{%+\n do __woolly_set(ns, 'x', ( [\n1] )) %}",
            ),
        ] {
            assert_eq!(rewrite(tag), call);
            let quoted = tag.replace('\'', "\\'");
            let around = |tag: &str| format!("a {{ b {{{{ '{quoted}' }}}} {tag} {{% c");
            assert_eq!(rewrite(&around(tag)), around(call));
        }
        for same in [
            "",
            "{",
            "{%",
            "{% set x = 1 %}",
            "{% set ns.x %}y{% endset %}",
            "{% set ns.x == 1 %}",
            "{# {% set ns.x = 1 %} #}",
            "{% raw %}{% set ns.x = 1 %}{% endraw %}",
            "{{ \"{% set ns.x = 1 %}\" }}",
            "{% set a.b.c = 1 %}",
            "{% settle ns.x = 1 %}",
            "{% set ns.x = 1",
            "ä {{ 'ö",
        ] {
            assert_eq!(rewrite(same), same);
        }
    }
}
