//! Answers, in the encoding of the request: an export response, partial where something was refused, or a status.
//!
//! Source: OTLP specification, "OTLP/HTTP Response".

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost::Message;
use serde_json::json;

use super::body::Encoding;
use super::decoded::Flaw;

/// What a request was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Logs,
}

impl Signal {
    fn items(self) -> &'static str {
        match self {
            Self::Traces => "spans",
            Self::Logs => "log records",
        }
    }
}

/// Flaws that the message names.
const NAMED: usize = 5;

/// The response messages of both signals have the same fields under the same numbers.
#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// `google.rpc.Status`, without details.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// 200: everything was taken, or all but `rejected` of `total` items, for these reasons. Flaws without a rejected item are
/// warnings, as the specification has them: the message without a number.
pub(super) fn taken(encoding: Encoding, signal: Signal, total: usize, rejected: usize, flaws: &[Flaw]) -> Response {
    let partial = (rejected > 0 || !flaws.is_empty()).then(|| PartialSuccess {
        rejected: i64::try_from(rejected).unwrap_or(i64::MAX),
        error_message: message(signal, total, rejected, flaws),
    });
    match encoding {
        Encoding::Protobuf => protobuf(StatusCode::OK, &ExportResponse { partial_success: partial }),
        Encoding::Json => {
            let rejected_name = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Logs => "rejectedLogRecords",
            };
            let body = match partial {
                None => json!({}),
                Some(partial) => json!({"partialSuccess": {
                    rejected_name: partial.rejected.to_string(), "errorMessage": partial.error_message,
                }}),
            };
            (StatusCode::OK, axum::Json(body)).into_response()
        }
    }
}

fn message(signal: Signal, total: usize, rejected: usize, flaws: &[Flaw]) -> String {
    let mut text = format!("{rejected} of {total} {} were not kept", signal.items());
    for (i, flaw) in flaws.iter().take(NAMED).enumerate() {
        text.push_str(if i == 0 { ": " } else { "; " });
        text.push_str(&format!("number {} (from 0), {}: {}", flaw.index, flaw.field, flaw.reason));
    }
    if flaws.len().min(NAMED) < rejected {
        text.push_str("; …");
    }
    text
}

/// Nothing was taken.
pub(super) fn refused(encoding: Encoding, status: StatusCode, message: &str, retry_after: Option<u64>) -> Response {
    // The codes of gRPC: INVALID_ARGUMENT, RESOURCE_EXHAUSTED, UNAVAILABLE, INTERNAL.
    let code = match status {
        StatusCode::SERVICE_UNAVAILABLE => 14,
        StatusCode::PAYLOAD_TOO_LARGE => 8,
        status if status.is_server_error() => 13,
        _ => 3,
    };
    let mut response = match encoding {
        Encoding::Protobuf => protobuf(status, &Status { code, message: message.to_owned() }),
        Encoding::Json => (status, axum::Json(json!({"code": code, "message": message}))).into_response(),
    };
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn protobuf(status: StatusCode, message: &impl Message) -> Response {
    let kind = HeaderValue::from_static("application/x-protobuf");
    (status, [(header::CONTENT_TYPE, kind)], message.encode_to_vec()).into_response()
}
