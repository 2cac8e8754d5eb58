//! Reading about runs, with the shapes of the Dunetrace API (seed 000): agents, runs, signals, insights, issues, fixes.
//!
//! Owns: the endpoints below `/v1/agents`, `/v1/runs/{id}` and `/v1/signals/{id}`. Does not own: what is found and how it is
//! explained (agent), nor what is kept (store). Must hold: a key sees the agents of its own project and nobody else's; times are
//! seconds since 1970; every rate is of all judged runs.

pub(crate) mod agents;
pub(crate) mod detail;
pub(crate) mod fixes;
pub(crate) mod insights;
pub(crate) mod signals;
mod views;

use serde::Serialize;

use crate::error::ApiError;

const DEFAULT_LIMIT: i64 = 50;
const MAX_LIMIT: i64 = 500;

/// Which part of a listing was asked for.
#[derive(Debug, Clone, Copy)]
struct Slice {
    limit: u32,
    offset: u32,
}

impl Slice {
    fn new(limit: Option<i64>, offset: Option<i64>) -> Result<Self, ApiError> {
        let limit = limit.unwrap_or(DEFAULT_LIMIT);
        let limit = u32::try_from(limit).ok().filter(|_| (1..=MAX_LIMIT).contains(&limit));
        let limit = limit.ok_or_else(|| ApiError::unprocessable(format!("limit must be between 1 and {MAX_LIMIT}")))?;
        let offset = u32::try_from(offset.unwrap_or(0))
            .map_err(|_| ApiError::unprocessable(format!("offset must be between 0 and {}", u32::MAX)))?;
        Ok(Self { limit, offset })
    }

    fn page(self, total: i64) -> PageView {
        let end = i64::from(self.offset) + i64::from(self.limit);
        PageView { total, offset: self.offset, limit: self.limit, has_more: end < total }
    }
}

/// Where a page lies in its listing.
#[derive(Debug, Serialize)]
struct PageView {
    total: i64,
    offset: u32,
    limit: u32,
    has_more: bool,
}

/// The number of a signal.
fn signal_id(text: &str) -> Result<i64, ApiError> {
    text.parse().map_err(|_| ApiError::not_found("signal", text))
}
