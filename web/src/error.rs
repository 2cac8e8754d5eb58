//! The one form of error: `{"error": {"code", "message", "detail", "hint"}}` with the right status.
//!
//! Must hold: an error of ours (5xx) says nothing of the inside; what happened is in the log.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tripline_agent::govern::GovernError;
use tripline_engine::{EngineError, ScanErrorKind};
use tripline_store::StoreError;

use crate::ports::{PortError, PortErrorKind};

/// What went wrong, for the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// A short stable word for machines.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What exactly was found.
    pub detail: Option<String>,
    /// What to do next.
    pub hint: Option<String>,
    /// Seconds after which it is worth another try.
    pub retry_after_seconds: Option<u32>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl ApiError {
    /// An error.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), detail: None, hint: None, retry_after_seconds: None }
    }

    /// Says what exactly was found.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    pub(crate) fn not_found(what: &str, id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is no {what} '{id}'"))
    }

    pub(crate) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", message)
    }

    pub(crate) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something went wrong inside Tripline")
            .hint("the log has the details under the request id of this answer")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = Body {
            error: Inner {
                code: self.code,
                message: &self.message,
                detail: self.detail.as_deref(),
                hint: self.hint.as_deref(),
            },
        };
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let (status, code) = match &error {
            StoreError::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
            StoreError::Conflict { .. } | StoreError::WrongState { .. } => (StatusCode::CONFLICT, "conflict"),
            StoreError::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            StoreError::Busy { .. } | StoreError::Full { .. } => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            _ => {
                tracing::error!(error = %error.report(), "the store failed");
                return Self::internal();
            }
        };
        let answer = Self::new(status, code, error.to_string());
        match error {
            StoreError::Busy { .. } => answer.retry_after(1),
            // Somebody has to make room first.
            StoreError::Full { .. } => answer.retry_after(10),
            _ => answer,
        }
    }
}

impl From<GovernError> for ApiError {
    fn from(error: GovernError) -> Self {
        match error {
            GovernError::Store(error) => error.into(),
            GovernError::Refused { message, hint } => {
                let answer = Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
                Self { hint, ..answer }
            }
        }
    }
}

impl From<PortError> for ApiError {
    fn from(error: PortError) -> Self {
        let (status, code) = match error.kind {
            PortErrorKind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            PortErrorKind::Busy => (StatusCode::CONFLICT, "busy"),
            PortErrorKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            PortErrorKind::Failed => (StatusCode::BAD_GATEWAY, "failed"),
        };
        Self { hint: error.hint, ..Self::new(status, code, error.message) }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let code = error.code();
        match error {
            EngineError::Query { message, hint } => Self { hint, ..Self::new(StatusCode::BAD_REQUEST, code, message) },
            EngineError::ReadOnly(detail) => {
                Self::new(StatusCode::FORBIDDEN, code, "only read-only SQL is allowed").detail(detail)
            }
            EngineError::Source(scan) => {
                let status = match scan.kind {
                    ScanErrorKind::Deadline => StatusCode::GATEWAY_TIMEOUT,
                    ScanErrorKind::MissingKey => StatusCode::BAD_REQUEST,
                    ScanErrorKind::Forbidden => StatusCode::FORBIDDEN,
                    ScanErrorKind::Budget => StatusCode::UNPROCESSABLE_ENTITY,
                    _ => StatusCode::BAD_GATEWAY,
                };
                let message = format!("{}.{}: {}", scan.source, scan.table, scan.kind.describe());
                let mut detail = scan.detail.clone();
                if let Some(status) = scan.status {
                    detail = format!("HTTP {status}: {detail}");
                }
                if let Some(request) = &scan.request {
                    detail = format!("{detail} [{request}]");
                }
                Self { hint: scan.hint, ..Self::new(status, code, message).detail(detail) }
            }
            EngineError::Deadline(_) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, code, "the query did not finish in time")
                    .hint("narrow the time window, add a LIMIT, or raise timeout_ms")
            }
            EngineError::Cancelled => Self::new(StatusCode::SERVICE_UNAVAILABLE, code, "the query was cancelled"),
            EngineError::Memory(detail) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, "the query needs more memory than it may have")
                    .detail(detail)
                    .hint("select fewer columns, narrow the window, or aggregate earlier")
            }
            EngineError::Execution(detail) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, "the query could not be carried out").detail(detail)
            }
        }
    }
}
