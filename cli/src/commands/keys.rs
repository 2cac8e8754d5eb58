//! `tripline keys`: create, list and revoke API keys, beside a running server or without one.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::ExposeSecret;
use tripline_engine::parse_duration;
use tripline_store::{ApiKeyId, KeyScope, NewApiKey, ProjectId, StoreError};

use crate::app::{Home, clock};
use crate::args::KeysCommand;
use crate::failure::Failure;
use crate::terminal;

/// How long a link to sign in may be used.
const LINK_LASTS: TimeDelta = TimeDelta::minutes(10);
/// The longest that a key may be made for, where an end is given.
const LONGEST: TimeDelta = TimeDelta::days(3650);

pub(crate) async fn run(command: KeysCommand, home: &Home) -> Result<(), Failure> {
    let store = home.open_store(tripline_store::OpenMode::Beside).await?.store();
    let now = clock(None).now();
    match command {
        KeysCommand::Create { name, person, scopes, project, expires_in } => {
            let mut scopes: BTreeSet<KeyScope> = scopes.into_iter().collect();
            if scopes.is_empty() {
                scopes.insert(KeyScope::Read);
            }
            let person = person.unwrap_or_else(|| name.clone());
            let new = NewApiKey { name, person, scopes, project: project.map(ProjectId::new) };
            let expires_at = expires_in.as_deref().map(|text| end(text, now)).transpose()?;
            let created = store.keys.create_until(new, expires_at, "cli", now).await.map_err(|error| match error {
                StoreError::NotFound { .. } => Failure::from(error)
                    .hint("`tripline projects list` shows what there is; `tripline projects create ID` makes one"),
                other => other.into(),
            })?;
            terminal::error_line(&format!(
                "key {} created; this is the only time its secret is shown:",
                created.key.id
            ));
            terminal::line(created.secret.expose_secret());
        }
        KeysCommand::Link { key, url } => {
            let keys = store.keys.list().await?;
            let mut live = keys.iter().filter(|known| known.is_live(now));
            let found = live.find(|known| known.id.as_str() == key || known.name == key);
            let found = found.ok_or_else(|| {
                Failure::new(format!("there is no key '{key}' in use")).hint("`tripline keys list` shows them all")
            })?;
            let secret = store.keys.make_link(&found.id, "cli", LINK_LASTS, now).await?;
            terminal::error_line(&format!("signs a browser in as {}, once, within ten minutes:", found.name));
            // Behind the `#`: it is in no request, so in no log of a proxy.
            terminal::line(&format!("{}/sign-in#link={}", url.trim_end_matches('/'), secret.expose_secret()));
        }
        KeysCommand::List => {
            let rows = store.keys.list().await?.into_iter().map(|key| {
                let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
                let state = match key.revoked_at {
                    Some(_) => "revoked",
                    None if !key.is_live(now) => "expired",
                    None => "active",
                };
                let ends = key.expires_at.map_or_else(|| "never".to_owned(), |at| at.to_rfc3339());
                let used = key.last_used_at.map_or_else(|| "never".to_owned(), |at| at.to_rfc3339());
                let (id, project) = (key.id.to_string(), key.project_id.to_string());
                vec![id, key.name, project, key.person, scopes.join(","), key.prefix, state.to_owned(), ends, used]
            });
            let header = ["id", "name", "project", "person", "scopes", "starts with", "state", "ends", "last used"];
            terminal::line(&terminal::table(&header, rows.collect()));
        }
        KeysCommand::Revoke { id } => {
            let key = store.keys.revoke(&ApiKeyId::new(id), "cli", now).await?;
            terminal::line(&format!("key {} ({}) is revoked", key.id, key.name));
        }
    }
    Ok(())
}

/// When a key that lasts so long ends.
fn end(text: &str, now: DateTime<Utc>) -> Result<DateTime<Utc>, Failure> {
    let refused =
        |why: &str| Failure::usage(&format!("--expires-in: {why}"), "tripline keys create alice --expires-in 90d");
    let lasts = parse_duration(text).map_err(|why| refused(&why))?;
    let lasts = TimeDelta::from_std(lasts).ok().filter(|lasts| *lasts <= LONGEST);
    let lasts = lasts.ok_or_else(|| refused(&format!("{text} is longer than ten years")))?;
    Ok(now + lasts)
}
