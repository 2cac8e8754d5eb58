//! `tripline keys`: create, list and revoke API keys, beside a running server or without one.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;
use tripline_store::{ApiKeyId, KeyScope, NewApiKey, ProjectId, StoreError};

use crate::app::{Home, clock};
use crate::args::KeysCommand;
use crate::failure::Failure;
use crate::terminal;

/// How long a link to sign in may be used.
const LINK_LASTS: chrono::TimeDelta = chrono::TimeDelta::minutes(10);

pub(crate) async fn run(command: KeysCommand, home: &Home) -> Result<(), Failure> {
    let store = home.open_store(tripline_store::OpenMode::Beside).await?.store();
    let now = clock(None).now();
    match command {
        KeysCommand::Create { name, person, scopes, project } => {
            let mut scopes: BTreeSet<KeyScope> = scopes.into_iter().collect();
            if scopes.is_empty() {
                scopes.insert(KeyScope::Read);
            }
            let person = person.unwrap_or_else(|| name.clone());
            let new = NewApiKey { name, person, scopes, project: project.map(ProjectId::new) };
            let created = store.keys.create(new, now).await.map_err(|error| match error {
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
            let mut live = keys.iter().filter(|known| known.revoked_at.is_none());
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
                let state = if key.revoked_at.is_some() { "revoked" } else { "active" };
                let used = key.last_used_at.map_or_else(|| "never".to_owned(), |at| at.to_rfc3339());
                let (id, project) = (key.id.to_string(), key.project_id.to_string());
                vec![id, key.name, project, key.person, scopes.join(","), key.prefix, state.to_owned(), used]
            });
            let header = ["id", "name", "project", "person", "scopes", "starts with", "state", "last used"];
            terminal::line(&terminal::table(&header, rows.collect()));
        }
        KeysCommand::Revoke { id } => {
            let key = store.keys.revoke(&ApiKeyId::new(id), "cli", now).await?;
            terminal::line(&format!("key {} ({}) is revoked", key.id, key.name));
        }
    }
    Ok(())
}
