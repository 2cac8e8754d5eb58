//! The endpoints, a file per subject. Each has its requests and answers as types.

pub(crate) mod actions;
pub(crate) mod anomalies;
pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod commits;
pub(crate) mod detectors;
pub(crate) mod digest;
pub(crate) mod forensics;
pub(crate) mod health;
pub(crate) mod incidents;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod loops;
pub(crate) mod metrics;
pub(crate) mod preview;
pub(crate) mod projects;
pub(crate) mod quality;
pub(crate) mod queries;
pub(crate) mod risk;
pub(crate) mod runs;
pub(crate) mod sampling;
pub(crate) mod session;
pub(crate) mod settings;
pub(crate) mod slack;
pub(crate) mod sources;
pub(crate) mod sql;
pub(crate) mod stream;
pub(crate) mod together;

use serde::Serialize;
use tripline_store::{Page, PageRequest};

use crate::error::ApiError;

/// A page of a listing, newest first.
#[derive(Debug, Serialize)]
pub(crate) struct Listing<T> {
    /// The items.
    pub items: Vec<T>,
    /// Pass it as `cursor` for the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl<T> Listing<T> {
    fn of<S>(page: Page<S>, view: impl FnMut(S) -> T) -> Self {
        Self {
            next_cursor: page.next.map(|cursor| cursor.to_string()),
            items: page.items.into_iter().map(view).collect(),
        }
    }
}

impl<T> Listing<Option<T>> {
    /// Without the items that are none.
    fn flattened(self) -> Listing<T> {
        Listing { items: self.items.into_iter().flatten().collect(), next_cursor: self.next_cursor }
    }
}

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 500;

/// The page that `limit` and `cursor` ask for.
fn page_request(limit: Option<u32>, cursor: Option<&str>) -> Result<PageRequest, ApiError> {
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(ApiError::unprocessable(format!("limit must be between 1 and {MAX_LIMIT}")));
    }
    match cursor {
        Some(cursor) => Ok(PageRequest::after(limit, cursor.parse()?)),
        None => Ok(PageRequest::first(limit)),
    }
}

/// Reads one of the words of a list, if there is one.
fn word<T: std::str::FromStr<Err = tripline_store::StoreError>>(text: Option<&str>) -> Result<Option<T>, ApiError> {
    Ok(text.map(str::parse).transpose()?)
}
