//! Reading requests into types, with errors of our form.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::auth::Caller;
use crate::error::ApiError;
use crate::local;

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    /// Who asks. Only behind an endpoint that is not public.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get::<Self>().cloned().ok_or_else(ApiError::internal)
    }
}

/// A JSON body.
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        Json::<T>::from_request(request, state).await.map(|Json(value)| Self(value)).map_err(|error| json_error(&error))
    }
}

/// A JSON body that may be left out.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Self, ApiError> {
        let is_json = local::is_json(request.headers());
        let bytes = Bytes::from_request(request, state).await.map_err(|error| body_error(&error))?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        if !is_json {
            return Err(unsupported());
        }
        let value = Json::<T>::from_bytes(&bytes).map_err(|error| json_error(&error))?;
        Ok(Self(value.0))
    }
}

pub(crate) fn unsupported() -> ApiError {
    ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "the body must be JSON")
        .hint("send `Content-Type: application/json`")
}

pub(crate) fn json_error(error: &JsonRejection) -> ApiError {
    match error {
        JsonRejection::JsonDataError(error) => {
            ApiError::unprocessable("the body does not have the form that is needed").detail(inner(error))
        }
        JsonRejection::JsonSyntaxError(error) => {
            ApiError::new(StatusCode::BAD_REQUEST, "malformed_json", "the body is no JSON").detail(inner(error))
        }
        JsonRejection::MissingJsonContentType(_) => unsupported(),
        JsonRejection::BytesRejection(error) => body_error(error),
        other => ApiError::new(other.status(), "malformed", "the body cannot be read"),
    }
}

/// What serde says of the place, without the outer wrapping.
fn inner(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

pub(crate) fn body_error(error: &BytesRejection) -> ApiError {
    if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "the body is too large");
    }
    ApiError::new(error.status(), "malformed", "the body cannot be read")
}

/// Parameters of a query string. Unknown ones are refused, so that a misspelt filter does not show everything.
pub(crate) struct Params<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|error: QueryRejection| {
            let why = inner(&error);
            // The Dunetrace API says 422 of a value that does not fit (facts/dunetrace.md §6).
            let of_runs = ["/v1/agents", "/v1/runs/"].iter().any(|path| parts.uri.path().starts_with(path));
            let status = match of_runs && !why.contains("unknown field") {
                true => StatusCode::UNPROCESSABLE_ENTITY,
                false => StatusCode::BAD_REQUEST,
            };
            ApiError::new(status, "bad_parameter", "a parameter cannot be read").detail(why)
        })
    }
}

/// An id in the path, percent-decoded.
pub(crate) struct Id(pub(crate) String);

const MAX_ID: usize = 512;

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let malformed = || ApiError::new(StatusCode::BAD_REQUEST, "bad_id", "the id in the path is none");
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(id) = path.map_err(|_: PathRejection| malformed())?;
        let is_id = !id.trim().is_empty() && id.len() <= MAX_ID && !id.chars().any(char::is_control);
        if is_id { Ok(Self(id)) } else { Err(malformed()) }
    }
}
