//! What every test here needs: the binary, simulated vendors, a home, a running server.

mod binary;
mod serve;
mod site;
mod vendors;

use std::time::Duration;

use chrono::{DateTime, Utc};

pub(crate) use binary::binary;
pub(crate) use serve::Serve;
pub(crate) use site::{Outcome, Site};
pub(crate) use vendors::{Account, Request, Vendors, Write};

/// How long anything may take: two cores, a debug build, and other tests beside it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The secret that Slack and the server share in these tests.
pub(crate) const SIGNING_SECRET: &str = "e2e-signing-secret";

/// The Slack user who may approve.
pub(crate) const APPROVER: &str = "U0APPROVER";

/// A time from its RFC 3339 text.
pub(crate) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// The time as the command line takes it.
pub(crate) fn text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// Asks until there is an answer, at most for [`PATIENCE`].
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "still waiting after {PATIENCE:?} for: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}

/// An HTTP client, which needs a provider of TLS although nothing here uses any.
pub(crate) fn client() -> reqwest::Client {
    // Another test of this process may have been faster, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(PATIENCE).build().unwrap()
}
