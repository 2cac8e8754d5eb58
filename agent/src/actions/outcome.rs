//! What came of one attempt at an action, and of looking for it at the vendor.

use std::time::Duration;

use serde_json::Value;

/// What came of sending.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sent {
    /// It happened.
    Done(Value),
    /// It was asked of a running agent.
    Requested(Value),
    /// It did not happen and is worth another try, not before the vendor's own time.
    NotNow { why: String, retry_after: Option<Duration> },
    /// It did not happen and never will.
    Never(String),
    /// It may have happened. `in_flight`: the vendor may still be at it, so that an absence right now proves nothing.
    Unclear { why: String, in_flight: bool },
}

/// What came of looking.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Look {
    /// It happened.
    Found(Value),
    /// It did not.
    Absent,
    /// The vendor did not answer this time.
    NotNow(String),
    /// The vendor cannot tell, or does not let us see.
    CannotTell(String),
}
