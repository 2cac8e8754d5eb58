//! Asking the vendors whether actions will work, for `tripline doctor`. Nothing is written anywhere.
//!
//! Owns the questions: the Slack token's scopes, the channel, the Request URL, the repository. What can be told without
//! asking is in [`Destinations::checks`].

use reqwest::StatusCode;

use super::destinations::{DestinationCheck, Destinations};
use super::http::{Http, NoAnswer};
use super::{github, slack};
use crate::govern::settings::GovernanceSettings;

/// Asks, and says what was found. A question that needs what is not configured is left out: the checks of
/// [`Destinations`] name that.
pub async fn probe(destinations: &Destinations, settings: &GovernanceSettings) -> Vec<DestinationCheck> {
    let http = match Http::new() {
        Ok(http) => http,
        Err(error) => {
            let detail = error.without_url().to_string();
            return vec![check("TLS", Err(detail), "check the machine's root certificates")];
        }
    };
    let mut found = Vec::new();
    if destinations.slack.token.is_some() {
        found.push(check(
            "Slack scopes",
            slack::missing_scopes(&http, &destinations.slack).await.and_then(|missing| match missing.as_slice() {
                [] => Ok("all there".to_owned()),
                missing => Err(format!("missing: {}", missing.join(", "))),
            }),
            "reinstall the app with the manifest of docs/slack.md",
        ));
        found.push(check(
            "Slack channel",
            slack::check_channel(&http, &destinations.slack, &settings.slack_channel).await,
            "check governance.slack_channel, and invite the app to the channel",
        ));
    }
    if let Some(base) = settings.public_base() {
        found.push(check(
            "Slack Request URL",
            request_url(&http, &format!("{base}/api/slack/actions")).await,
            "Slack must reach it over https; enter it in the app under Interactivity & Shortcuts",
        ));
    }
    if destinations.github.token.is_some() && destinations.github.issues.is_ok() {
        found.push(check(
            "GitHub repository",
            github::check_repository(&http, &destinations.github).await,
            "the token needs the repository, with issues: read and write",
        ));
    }
    found
}

fn check(name: &'static str, found: Result<String, String>, hint: &'static str) -> DestinationCheck {
    match found {
        Ok(detail) => DestinationCheck { name, ok: true, detail, hint: None },
        Err(detail) => DestinationCheck { name, ok: false, detail, hint: Some(hint) },
    }
}

/// Whether the webhook answers at the address that Slack is told: an unsigned request must be refused by it.
async fn request_url(http: &Http, url: &str) -> Result<String, String> {
    let sent = http.send(http.client().post(url).body("payload=")).await;
    let answer = sent.map_err(|error| match error {
        NoAnswer::NotSent(why) | NoAnswer::Unclear { why, .. } => format!("{url}: {why}"),
    })?;
    let code = answer.json().and_then(|body| Some(body.get("error")?.get("code")?.as_str()?.to_owned()));
    if answer.status == StatusCode::FORBIDDEN && code.as_deref() == Some("signature") {
        return Ok(format!("{url} answers, and refuses what is not signed"));
    }
    Err(format!("{url} answers HTTP {}, which is not Tripline's answer to an unsigned request", answer.status))
}
