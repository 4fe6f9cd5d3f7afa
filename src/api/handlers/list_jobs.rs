//! `GET /v1/jobs?limit=20&status=queued&after=job_9`: jobs, newest first.
//!
//! Lists follow OpenAI's form: `after` is the last id of the page before. `before` means the same here:
//! only jobs older than that one.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;

use crate::api::access::Caller;
use crate::api::body::json_response;
use crate::api::job_view::view;
use crate::api::refusal::Refusal;
use crate::api::server::Shared;
use crate::job;
use crate::protocol::JobList;
use crate::queue::Filter;

const DEFAULT_LIMIT: usize = 20;
const LARGEST_LIMIT: usize = 1000;

type Pairs = Vec<(String, String)>;

pub(in crate::api) async fn handle(
    State(shared): State<Shared>,
    caller: Caller,
    pairs: Result<Query<Pairs>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(pairs) = pairs.map_err(|error| Refusal::bad_request(error.body_text()))?;
    let page = filter(&pairs)?;
    // One more than asked for tells whether there is another page.
    let one_more = Filter {
        limit: page.limit + 1,
        uid: caller.list_filter(),
        ..page.clone()
    };
    let listed = shared
        .queue
        .read_with_outlook(move |reader| reader.list(&one_more));
    let (mut rows, outlook) = listed.await?;
    let has_more = rows.len() > page.limit;
    rows.truncate(page.limit);
    let shown = rows
        .iter()
        .map(|row| view(row, outlook.of(row), Vec::new()));
    let list = JobList {
        object: "list".to_owned(),
        data: shown.collect(),
        has_more,
    };
    Ok(json_response(StatusCode::OK, &list))
}

fn filter(pairs: &[(String, String)]) -> Result<Filter, Refusal> {
    let mut filter = Filter {
        limit: DEFAULT_LIMIT,
        ..Filter::default()
    };
    for (name, value) in pairs {
        let bad = |expected: String| Refusal::bad_field(name, format!("{name} must be {expected}"));
        match name.as_str() {
            "limit" => {
                let limit = value
                    .parse()
                    .ok()
                    .filter(|limit| (1..=LARGEST_LIMIT).contains(limit));
                filter.limit = limit.ok_or_else(|| bad(format!("from 1 to {LARGEST_LIMIT}")))?;
            }
            "status" => {
                let states: Vec<_> = job::State::ALL.iter().map(|state| state.as_str()).collect();
                let state = job::State::parse(value);
                filter.state =
                    Some(state.ok_or_else(|| bad(format!("one of {}", states.join(", "))))?);
            }
            "after" | "before" if filter.before.is_some() => {
                return Err(bad("given once: after and before mean the same".to_owned()));
            }
            "after" | "before" => {
                filter.before = Some(
                    value
                        .parse()
                        .map_err(|_| bad("the id of a job".to_owned()))?,
                );
            }
            _ => {
                let message =
                    format!("{name} is not known; known are limit, status, after, before");
                return Err(Refusal::bad_field(name, message));
            }
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use crate::job::{JobId, State};

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Filter, Refusal> {
        let pairs: Pairs = pairs
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();
        filter(&pairs)
    }

    #[test]
    fn a_page_is_chosen_by_status_and_last_id() {
        let page = read(&[("limit", "5"), ("status", "failed"), ("after", "job_9")]).unwrap();
        assert_eq!(
            page,
            Filter {
                state: Some(State::Failed),
                before: Some(JobId(9)),
                limit: 5,
                uid: None
            }
        );
        assert_eq!(read(&[]).unwrap().limit, 20);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: [(&str, &[(&str, &str)]); 6] = [
            ("limit", &[("limit", "0")]),
            ("limit", &[("limit", "1001")]),
            ("status", &[("status", "done")]),
            ("after", &[("after", "9")]),
            ("before", &[("after", "job_9"), ("before", "job_8")]),
            ("order", &[("order", "asc")]),
        ];
        for (field, pairs) in cases {
            assert_eq!(read(pairs).unwrap_err().param(), Some(field));
        }
    }
}
