//! The Slack webhook: hands the raw request to governance, which verifies it.

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use tripline_agent::govern::signature::{Refusal, SignatureHeaders};
use tripline_agent::govern::{Click, ClickAnswer};

use crate::error::ApiError;
use crate::extract::body_error;
use crate::state::WebState;

pub(crate) async fn actions(
    State(state): State<WebState>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let body = match body {
        Ok(body) => body,
        Err(error) => return body_error(&error).into_response(),
    };
    let values = |name: &str| headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect();
    let headers =
        SignatureHeaders { timestamps: values("x-slack-request-timestamp"), signatures: values("x-slack-signature") };
    let click = Click { headers, body: &body };
    match state.parts().governance.clicks.handle(click).await {
        // Slack wants an empty 200, within three seconds.
        Ok(ClickAnswer::Accepted) => StatusCode::OK.into_response(),
        Ok(ClickAnswer::Refused(Refusal::MalformedBody)) => {
            ApiError::new(StatusCode::BAD_REQUEST, "malformed", "this is not what Slack sends").into_response()
        }
        // Which check failed is for the log and the record, not for whoever sent it.
        Ok(ClickAnswer::Refused(_)) => {
            ApiError::new(StatusCode::FORBIDDEN, "signature", "the request's signature was not accepted")
                .hint("docs/slack.md says how requests are verified; `tripline doctor` checks the signing secret")
                .into_response()
        }
        Err(error) => ApiError::from(error).into_response(),
    }
}
