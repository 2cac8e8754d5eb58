//! The table of routes: every endpoint, once, with who may use it.
//!
//! Owns the table and building the router from it. Must hold: there is no route outside of this table, so the test that
//! walks it walks everything.

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use tripline_store::KeyScope;

use crate::error::ApiError;
use crate::state::WebState;
use crate::{api, auth, ingest, layers, openapi, otlp, page, runs, sessions};

/// Who may use an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Public,
    /// Everybody: a page of the command centre, or a file of it. It shows nothing without a key.
    Page,
    /// Whoever has a key or a link, in the body. The endpoint verifies it.
    SignIn,
    /// Whoever signs: the endpoint verifies it.
    Signed,
    /// A key that may read, or this very machine.
    ReadOrLocal,
    /// Whoever sends events: a key with one of these scopes, in a header or in the body. The endpoint verifies it.
    Sender(&'static [KeyScope]),
    /// A key with one of these scopes (`admin` has them all).
    AnyOf(&'static [KeyScope]),
    /// The same, and the key may come as the password of basic authorization, its name or id as the user.
    Basic(&'static [KeyScope]),
}

const SEND: Access = Access::Sender(ingest::door::SEND);
/// What an SDK looks up with the key it sends events with.
const LOOK_UP: Access = Access::Sender(&[KeyScope::Read, KeyScope::Ingest]);
const READ: Access = Access::AnyOf(&[KeyScope::Read]);
/// Whoever is known.
const ANY: Access = Access::AnyOf(KeyScope::ALL);
const OPERATE: Access = Access::AnyOf(&[KeyScope::Operate]);
/// Changing how the installation works.
const ADMINISTER: Access = Access::AnyOf(&[KeyScope::Admin]);
/// An agent asks with the key it sends events with.
const ASK: Access = Access::AnyOf(&[KeyScope::Read, KeyScope::Ingest]);
/// An agent exports its telemetry.
const EXPORT: Access = Access::AnyOf(ingest::door::SEND);
/// An agent, or an operator for it, says that it stopped.
const ACKNOWLEDGE: Access = Access::AnyOf(&[KeyScope::Ingest, KeyScope::Operate]);

/// An adapter sends what happens in a session.
const RECORD: Access = Access::AnyOf(&[KeyScope::Ingest]);
/// Whoever reads may propose a fix: an approver decides about it.
const PROPOSE: Access = Access::AnyOf(&[KeyScope::Read, KeyScope::Operate]);
/// Whoever sends a session, or an operator, has it analysed.
const ANALYSE: Access = Access::AnyOf(&[KeyScope::Ingest, KeyScope::Operate]);

struct Endpoint {
    method: Method,
    path: &'static str,
    access: Access,
    handler: MethodRouter<WebState>,
}

/// A line of the table, for documents and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteInfo {
    /// The HTTP method.
    pub method: Method,
    /// The path, with `{id}` and `{name}` for what varies.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
}

fn endpoints() -> Vec<Endpoint> {
    let get_ = |path, access, handler| Endpoint { method: Method::GET, path, access, handler };
    let post_ = |path, access, handler| Endpoint { method: Method::POST, path, access, handler };
    let delete_ = |path, access, handler| Endpoint { method: Method::DELETE, path, access, handler };
    let patch_ = |path, access, handler| Endpoint { method: Method::PATCH, path, access, handler };
    let put_ = |path, access, handler| Endpoint { method: Method::PUT, path, access, handler };
    let pages = page::PAGES.iter().map(|path| get_(*path, Access::Page, get(page::document)));
    let endpoints = vec![
        get_("/assets/{name}", Access::Page, get(page::asset)),
        get_("/api/openapi.json", Access::Public, get(openapi::document)),
        get_("/api/docs", Access::Public, get(openapi::page)),
        get_("/healthz", Access::Public, get(api::health::health)),
        get_("/health", Access::Public, get(api::health::health)),
        get_("/api/health", Access::Public, get(api::health::health)),
        get_("/metrics", Access::ReadOrLocal, get(api::metrics::metrics)),
        post_("/api/slack/actions", Access::Signed, post(api::slack::actions)),
        post_("/api/github/webhook", Access::Signed, post(api::risk::webhook)),
        post_("/v1/ingest", SEND, post(ingest::door::ingest)),
        post_("/v1/deploy", SEND, post(ingest::extras::deploy)),
        get_("/v1/policies", LOOK_UP, get(ingest::extras::policies)),
        get_("/v1/detector-config", LOOK_UP, get(ingest::extras::detector_config)),
        get_("/v1/runs/{id}/control", ASK, get(api::runs::control)),
        post_("/v1/runs/{id}/control", ACKNOWLEDGE, post(api::runs::acknowledge)),
        post_("/v1/sessions/start", RECORD, post(sessions::write::start)),
        post_("/v1/events/batch", RECORD, session_batch()),
        post_("/v1/sessions/end", RECORD, post(sessions::write::end)),
        get_("/v1/sessions/{id}", READ, get(sessions::read::one)),
        get_("/v1/sessions/{id}/events", READ, get(sessions::read::events)),
        get_("/v1/sessions/{id}/errors", READ, get(sessions::read::errors)),
        get_("/v1/sessions/{id}/correlations", READ, get(sessions::read::correlations)),
        get_("/v1/sessions/{id}/agent-performance", READ, get(sessions::read::performance)),
        get_("/v1/sessions/{id}/summary", READ, get(sessions::read::summary)),
        get_("/v1/insights/recent", READ, get(sessions::read::insights)),
        post_("/api/v1/sessions/{id}/analyze", ANALYSE, post(sessions::analyse::analyse)),
        get_("/v1/agents", READ, get(runs::agents::list)),
        get_("/v1/agents/{id}/runs", READ, get(runs::agents::runs)),
        get_("/v1/agents/{id}/signals", READ, get(runs::agents::signals)),
        get_("/v1/agents/{id}/insights", READ, get(runs::insights::show)),
        get_("/v1/agents/{id}/issues", READ, get(runs::agents::issues)),
        get_("/v1/runs/{id}", READ, get(runs::detail::show)),
        get_("/v1/runs/{id}/events", READ, get(runs::detail::events)),
        post_("/v1/signals/{id}/explain", READ, post(runs::signals::explain)),
        post_("/v1/signals/{id}/apply-fix", PROPOSE, post(runs::fixes::apply)),
        post_("/v1/signals/{id}/record-copy", OPERATE, post(runs::signals::record_copy)),
        get_("/v1/signals/{id}/fix-status", READ, get(runs::signals::fix_status)),
        post_("/v1/signals/{id}/feedback", OPERATE, post(runs::signals::feedback)),
        post_("/v1/traces", EXPORT, post(otlp::post_traces)),
        post_("/v1/logs", EXPORT, post(otlp::post_logs)),
        post_("/api/public/otel/v1/traces", Access::Basic(ingest::door::SEND), post(otlp::post_traces)),
        get_("/api/v1/session", ANY, get(api::session::session)),
        post_("/api/v1/session", Access::SignIn, post(api::session::sign_in)),
        delete_("/api/v1/session", ANY, delete(api::session::sign_out)),
        get_("/api/v1/stream", READ, get(api::stream::stream)),
        get_("/api/v1/incidents", READ, get(api::incidents::list)),
        get_("/api/v1/incidents/{id}", READ, get(api::incidents::one)),
        post_("/api/v1/incidents/{id}/feedback", OPERATE, post(api::incidents::feedback)),
        get_("/api/v1/digest/latest", READ, get(api::digest::latest)),
        get_("/api/v1/digest/history", READ, get(api::digest::history)),
        get_("/api/v1/digest/{id}", READ, get(api::digest::one)),
        get_("/api/v1/quality/snapshots", READ, get(api::quality::snapshots)),
        get_("/api/v1/quality/drift", READ, get(api::quality::drift)),
        post_("/api/v1/quality/scan", OPERATE, post(api::quality::scan)),
        get_("/api/v1/quality/feature/{name}/validation", READ, get(api::quality::validation)),
        get_("/api/v1/quality/precision", READ, get(api::quality::precision)),
        get_("/api/v1/loops/active", READ, get(api::loops::active)),
        get_("/api/v1/loops/history", READ, get(api::loops::history)),
        get_("/api/v1/loops/{trace_id}/fingerprint", READ, get(api::loops::fingerprint)),
        get_("/api/v1/forensics/trace/{id}", READ, get(api::forensics::trace)),
        get_("/api/v1/forensics/incident", READ, get(api::forensics::incident)),
        get_("/api/v1/forensics/worst-traces", READ, get(api::forensics::worst)),
        get_("/api/v1/risk/history", READ, get(api::risk::history)),
        get_("/api/v1/risk/current/{pr}", READ, get(api::risk::current)),
        get_("/api/v1/sampling/stats", READ, get(api::sampling::stats)),
        get_("/api/v1/sampling/policy", READ, get(api::sampling::policy)),
        put_("/api/v1/sampling/policy", ADMINISTER, put(api::sampling::change)),
        get_("/api/v1/commits", READ, get(api::commits::list)),
        get_("/api/v1/anomalies", READ, get(api::anomalies::list)),
        get_("/api/v1/anomalies/{id}", READ, get(api::anomalies::one)),
        get_("/api/v1/approvals", READ, get(api::approvals::list)),
        get_("/api/v1/approvals/stats", READ, get(api::approvals::stats)),
        get_("/api/v1/approvals/{id}", READ, get(api::approvals::one)),
        post_("/api/v1/approvals/{id}/approve", OPERATE, post(api::approvals::approve)),
        post_("/api/v1/approvals/{id}/reject", OPERATE, post(api::approvals::reject)),
        get_("/api/v1/actions", READ, get(api::actions::list)),
        get_("/api/v1/actions/{id}", READ, get(api::actions::one)),
        post_("/api/v1/actions/{id}/settle", OPERATE, post(api::actions::settle)),
        get_("/api/v1/jobs", READ, get(api::jobs::list)),
        get_("/api/v1/jobs/{name}/runs", READ, get(api::jobs::runs)),
        post_("/api/v1/jobs/{name}/run", OPERATE, post(api::jobs::run)),
        get_("/api/v1/sources", READ, get(api::sources::list)),
        post_("/api/v1/sources/{name}/test", OPERATE, post(api::sources::test)),
        get_("/api/v1/detectors", READ, get(api::detectors::list)),
        post_("/api/v1/detectors/dry-run", READ, post(api::detectors::dry_run)),
        put_("/api/v1/detectors/{name}", ADMINISTER, put(api::detectors::save)),
        get_("/api/v1/projects", ADMINISTER, get(api::projects::list)),
        post_("/api/v1/projects", ADMINISTER, post(api::projects::create)),
        get_("/api/v1/queries", READ, get(api::queries::list)),
        put_("/api/v1/queries/{name}", OPERATE, put(api::queries::save)),
        delete_("/api/v1/queries/{name}", OPERATE, delete(api::queries::remove)),
        get_("/api/v1/audit", READ, get(api::audit::list)),
        get_("/api/v1/audit/verify", READ, get(api::audit::verify)),
        get_("/api/v1/settings", READ, get(api::settings::show)),
        patch_("/api/v1/settings", ADMINISTER, patch(api::settings::change)),
        put_("/api/v1/settings", ADMINISTER, put(api::settings::change)),
        post_("/api/v1/settings/preview", READ, post(api::preview::show)),
        get_("/api/v1/keys", ADMINISTER, get(api::keys::list)),
        post_("/api/v1/keys", ADMINISTER, post(api::keys::create)),
        delete_("/api/v1/keys/{id}", ADMINISTER, delete(api::keys::revoke)),
        post_("/api/v1/sql", READ, post(api::sql::run)),
    ];
    pages.chain(endpoints).collect()
}

/// Batches may be larger than other bodies.
fn session_batch() -> MethodRouter<WebState> {
    post(sessions::write::batch).layer(DefaultBodyLimit::max(sessions::write::MAX_BATCH_BODY))
}

/// Every endpoint and who may use it.
#[must_use]
pub fn route_table() -> Vec<RouteInfo> {
    endpoints().into_iter().map(|e| RouteInfo { method: e.method, path: e.path, access: e.access }).collect()
}

/// The whole server as a service.
pub fn router(state: WebState) -> Router {
    let mut router = Router::new();
    for endpoint in endpoints() {
        let guarded = endpoint.handler.layer(from_fn_with_state((state.clone(), endpoint.access), auth::guard));
        router = router.route(endpoint.path, guarded);
    }
    router
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .layer(DefaultBodyLimit::max(state.options().max_body))
        .layer(from_fn(layers::catch_panics))
        .layer(from_fn_with_state(state.clone(), layers::observe))
        .with_state(state)
}

/// Nothing is there. A browser that was sent to an address gets the page, which says so in its own words; programs get the error.
async fn not_found(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let wants_page = headers.get_all(header::ACCEPT).iter().any(|value| {
        let media = value.to_str().unwrap_or_default().split(',');
        media.map(|one| one.split(';').next().unwrap_or_default().trim()).any(|one| one == "text/html")
    });
    let of_programs = ["/api/", "/v1/", "/assets/"].iter().any(|folder| uri.path().starts_with(folder));
    if method == Method::GET && wants_page && !of_programs {
        return (StatusCode::NOT_FOUND, page::document(headers).await).into_response();
    }
    ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address")
        .hint("docs/api.md lists every endpoint")
        .into_response()
}

async fn method_not_allowed() -> Response {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this address does not take that method")
        .hint("docs/api.md lists every endpoint")
        .into_response()
}
