//! Reading a JSON object field by field, so that every refusal names its field.
//!
//! `null` counts as left out, as in OpenAI's API. Fields that nobody took are the unknown ones.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::job::Endpoint;

use super::RequestError;

/// Unknown fields are listed up to this number; the rest is counted.
const LISTED: usize = 16;
/// Longer names of unknown fields are cut: they come from outside and go back into the answer.
const NAME_CHARS: usize = 64;

/// A JSON object whose fields are taken one by one.
pub(super) struct Fields {
    object: Map<String, Value>,
    /// Put before every field name: the path of this object in the body.
    path: String,
}

impl Fields {
    pub(super) fn from_body(body: &[u8]) -> Result<Self, RequestError> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| RequestError::body(format!("the body is not valid JSON: {error}")))?;
        Self::from_value(value, String::new())
            .map_err(|_| RequestError::body("the body must be a JSON object"))
    }

    /// An object inside the body, at `path` such as `messages[3]`.
    pub(super) fn from_value(value: Value, path: String) -> Result<Self, RequestError> {
        match value {
            Value::Object(object) => Ok(Fields { object, path }),
            _ => Err(RequestError::field(path, "must be an object")),
        }
    }

    /// The full name of a field.
    pub(super) fn name(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub(super) fn error(&self, name: &str, problem: impl std::fmt::Display) -> RequestError {
        RequestError::field(self.name(name), problem)
    }

    /// Keeps the order of the other fields: the unknown ones are reported in the order sent.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.object
            .shift_remove(name)
            .filter(|value| !value.is_null())
    }

    pub(super) fn required(&mut self, name: &str) -> Result<Value, RequestError> {
        self.take(name)
            .ok_or_else(|| self.error(name, "is required"))
    }

    pub(super) fn string(&mut self, name: &str) -> Result<Option<String>, RequestError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.error(name, "must be a string")),
        }
    }

    /// An object that must be there, whose fields are nobody's yet.
    pub(super) fn object(&mut self, name: &str) -> Result<Map<String, Value>, RequestError> {
        match self.required(name)? {
            Value::Object(object) => Ok(object),
            _ => Err(self.error(name, "must be an object")),
        }
    }

    /// The path of an endpoint, which must be there.
    pub(super) fn endpoint(&mut self, name: &str) -> Result<Endpoint, RequestError> {
        let path = self.string(name)?;
        path.as_deref()
            .and_then(Endpoint::from_path)
            .ok_or_else(|| {
                let known = Endpoint::ALL.map(Endpoint::path).join(" or ");
                self.error(name, format!("must be {known}"))
            })
    }

    /// False when left out.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, RequestError> {
        self.flag_or(name, false)
    }

    pub(super) fn flag_or(&mut self, name: &str, default: bool) -> Result<bool, RequestError> {
        Ok(self.choice(name)?.unwrap_or(default))
    }

    /// `None` when left out.
    pub(super) fn choice(&mut self, name: &str) -> Result<Option<bool>, RequestError> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(_) => Err(self.error(name, "must be true or false")),
        }
    }

    /// A number in `range`, to the precision that the sampler has.
    pub(super) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f32>, RequestError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        let number = value.as_f64().filter(|number| range.contains(number));
        number.map(|number| Some(number as f32)).ok_or_else(|| {
            self.error(
                name,
                format!("must be a number from {} to {}", range.start(), range.end()),
            )
        })
    }

    /// An integer in `range`; `16.0` is one too.
    pub(super) fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, RequestError> {
        let Some(value) = self.take(name) else {
            return Ok(None);
        };
        whole(&value)
            .filter(|number| range.contains(number))
            .map(Some)
            .ok_or_else(|| {
                self.error(
                    name,
                    format!(
                        "must be an integer from {} to {}",
                        range.start(),
                        range.end()
                    ),
                )
            })
    }

    /// The names nobody took.
    pub(super) fn unknown(self) -> Vec<String> {
        let total = self.object.len();
        let names = self.object.keys().take(LISTED);
        let mut listed: Vec<String> = names
            .map(|name| self.name(&name.chars().take(NAME_CHARS).collect::<String>()))
            .collect();
        if total > LISTED {
            listed.push(format!("and {} more", total - LISTED));
        }
        listed
    }
}

/// The integer a JSON number is, if it is one.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        // Exact below 2^53; larger integers arrive as integers, not as floats.
        value
            .as_f64()
            .filter(|f| f.fract() == 0.0 && f.abs() < 9.0e15)
            .map(|f| f as i64)
    })
}
