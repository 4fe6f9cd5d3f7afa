//! The methods of Python's strings that chat templates call, as far as their results stay small.
//!
//! The library's fuel counts steps, and one step of a replacement can make a text of gigabytes out of one of
//! megabytes. So the length of the result is estimated first, never below what it will be.
//!
//! Invariant: changes no result, only refuses some.

use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// The longest text that a method may make: some times the longest prompt.
const LONGEST: usize = 16 << 20;

/// Calls `method` of `value`.
pub(super) fn call(
    state: &mut State,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(text) = value.as_str()
        && grown(text, method, args) > LONGEST
    {
        return Err(Error::from(ErrorKind::OutOfFuel));
    }
    pycompat::unknown_method_callback(state, value, method, args)
}

/// The result's length at most; 0 for methods that make nothing longer than what they are given.
fn grown(text: &str, method: &str, args: &[Value]) -> usize {
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    match (method, args) {
        ("replace", [old, new, ..]) => {
            let places = old.as_str().map_or(0, |old| text.matches(old).count());
            text.len()
                .saturating_add(places.saturating_mul(length(new)))
        }
        ("join", [values, ..]) => values.try_iter().map_or(0, |values| {
            values.fold(0, |sum: usize, value| {
                sum.saturating_add(text.len())
                    .saturating_add(length(&value))
            })
        }),
        // Every two bytes may name the longest argument.
        ("format", args) => {
            let longest = args.iter().map(length).max().unwrap_or(0);
            text.len()
                .saturating_add((text.len() / 2).saturating_mul(longest))
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_result_is_longer_than_its_estimate() {
        let text = |text: &str| Value::from(text);
        let environment = minijinja::Environment::new();
        for (value, method, args) in [
            ("aXbXc", "replace", vec![text("X"), text("long")]),
            ("abc", "replace", vec![text(""), text("--")]),
            ("abc", "replace", vec![text("z"), text("--")]),
            (", ", "join", vec![Value::from(vec!["a", "bcd", "e"])]),
            ("{}{}{}", "format", vec![text("abc"), text("d"), text("ef")]),
            ("{0}{0}", "format", vec![text("abcdefghij")]),
        ] {
            let mut state = environment.empty_state();
            let result = call(&mut state, &text(value), method, &args).unwrap();
            let length = result.as_str().unwrap().len();
            assert!(length <= grown(value, method, &args), "{value}.{method}");
        }
    }

    #[test]
    fn what_would_fill_the_memory_is_refused_before_it_is_made() {
        let environment = minijinja::Environment::new();
        let long = "a".repeat(1 << 20);
        for (value, method, args) in [
            (
                long.as_str(),
                "replace",
                vec![Value::from("a"), Value::from(long.as_str())],
            ),
            (
                long.as_str(),
                "join",
                vec![Value::from((0..100).collect::<Vec<_>>())],
            ),
            (
                &"{0}".repeat(100),
                "format",
                vec![Value::from(long.as_str())],
            ),
        ] {
            let mut state = environment.empty_state();
            let error = call(&mut state, &Value::from(value), method, &args).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfFuel, "{method}");
        }
    }
}
