//! Which part of a list is asked for: `?limit=20&after=<id>`, newest first.

use std::str::FromStr;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;

use crate::queue::Page;

use super::access::Caller;
use super::refusal::Refusal;

const DEFAULT_LIMIT: usize = 20;

pub(super) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The page, with one more entry than is to be shown, and how many are. `number` takes the number of an id; `other`
/// takes what else this list knows, and says whether it does.
pub(super) fn page<I: FromStr>(
    pairs: Pairs,
    caller: Caller,
    largest: usize,
    number: impl Fn(I) -> i64,
    mut other: impl FnMut(&str, &str) -> Result<bool, Refusal>,
) -> Result<(Page, usize), Refusal> {
    let Query(pairs) = pairs.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let (mut limit, mut before) = (DEFAULT_LIMIT, None);
    for (name, value) in &pairs {
        let bad = |expected: &str| Refusal::bad_field(name, format!("{name} must be {expected}"));
        match name.as_str() {
            "limit" => {
                let given = value
                    .parse()
                    .ok()
                    .filter(|given| (1..=largest).contains(given));
                limit = given.ok_or_else(|| bad(&format!("from 1 to {largest}")))?;
            }
            "after" => {
                let id: I = value.parse().map_err(|_| bad("the id of a list's entry"))?;
                before = Some(number(id));
            }
            name if other(name, value)? => {}
            _ => {
                return Err(Refusal::bad_field(
                    name,
                    format!("there is no parameter {name}"),
                ));
            }
        }
    }
    let page = Page {
        before,
        limit: limit + 1,
        uid: caller.list_filter(),
    };
    Ok((page, limit))
}
