//! Promises about who comes in: projects, API keys, replayed signatures.

use super::fixtures::*;
use crate::StoreError;
use crate::model::*;
use chrono::TimeDelta;
use secrecy::ExposeSecret;
use std::collections::HashSet;
use std::time::Duration;

pub async fn a_fresh_installation_has_one_project(store: Store) {
    let projects = store.projects.list().await.unwrap();
    assert_eq!(projects.len(), 1);
    assert_eq!(projects[0].id, *Scope::default_project().project_id());
}

pub async fn a_project_id_is_unique_and_well_formed(store: Store) {
    let made = store.projects.create(&ProjectId::new("acme-1"), "Acme", start()).await.unwrap();
    assert_eq!(store.projects.list().await.unwrap()[0], made);
    let again = store.projects.create(&ProjectId::new("acme-1"), "Other", start()).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })));
    for bad in ["", "Acme", "a b", "../x", &"x".repeat(65)] {
        let refused = store.projects.create(&ProjectId::new(bad), "x", start()).await;
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{bad}");
    }
}

pub async fn a_key_verifies_until_it_is_revoked(store: Store) {
    let created = store.keys.create(new_key("ci"), start()).await.unwrap();
    let secret = created.secret.expose_secret();
    assert!(secret.starts_with("tl_") && secret.len() == 46, "256 bits in 43 characters");
    let verified = store.keys.verify(secret, start()).await.unwrap().unwrap();
    assert_eq!(verified.id, created.key.id);
    for wrong in ["", "tl_", "tl_wrong", &secret[1..], &format!("{secret}x"), &secret.to_uppercase()] {
        assert_eq!(store.keys.verify(wrong, start()).await.unwrap(), None, "{wrong}");
    }
    let revoked = store.keys.revoke(&created.key.id, "ann", minute(1)).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(minute(1)));
    assert_eq!(store.keys.verify(secret, minute(1)).await.unwrap(), None);
    let again = store.keys.revoke(&created.key.id, "bob", minute(9)).await.unwrap();
    assert_eq!(again.revoked_at, Some(minute(1)));
    let missing = store.keys.revoke(&ApiKeyId::new("none"), "ann", start()).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
    assert_eq!(recorded(&store, created.key.id.as_str()).await, ["api_key.created", "api_key.revoked"]);
}

pub async fn a_link_signs_in_once_and_a_session_ends_with_its_time_or_its_key(store: Store) {
    let (day, ten_minutes) = (TimeDelta::days(1), TimeDelta::minutes(10));
    let created = store.keys.create(new_key("ann"), start()).await.unwrap();
    let link = store.keys.make_link(&created.key.id, "cli", ten_minutes, start()).await.unwrap();
    let link = link.expose_secret();
    assert_eq!(store.keys.verify(link, start()).await.unwrap(), None, "a link is no key");
    assert_eq!(store.keys.session(link, start()).await.unwrap(), None, "nor a session");

    let first = store.keys.sign_in(link, day, minute(9)).await.unwrap().unwrap();
    assert_eq!((&first.key.id, first.expires_at), (&created.key.id, minute(9) + day));
    assert!(store.keys.sign_in(link, day, minute(9)).await.unwrap().is_none(), "a link is used up");
    let session = first.session.expose_secret();
    assert_eq!(store.keys.session(session, minute(10)).await.unwrap().unwrap().id, created.key.id);
    assert_eq!(store.keys.session(session, minute(9) + day).await.unwrap(), None, "it ends by itself");
    assert!(store.keys.sign_in(session, day, minute(10)).await.unwrap().is_none(), "a session begins no other");
    for wrong in ["", "tl_wrong", "tll_wrong", "tls_wrong", "x"] {
        assert!(store.keys.sign_in(wrong, day, start()).await.unwrap().is_none(), "{wrong}");
    }

    let late = store.keys.make_link(&created.key.id, "cli", ten_minutes, start()).await.unwrap();
    assert!(store.keys.sign_in(late.expose_secret(), day, minute(10)).await.unwrap().is_none(), "a link gets old");
    let by_key = store.keys.sign_in(created.secret.expose_secret(), day, start()).await.unwrap().unwrap();
    store.keys.sign_out(by_key.session.expose_secret()).await.unwrap();
    assert_eq!(store.keys.session(by_key.session.expose_secret(), start()).await.unwrap(), None, "signed out");

    store.keys.revoke(&created.key.id, "cli", minute(11)).await.unwrap();
    assert_eq!(store.keys.session(session, minute(11)).await.unwrap(), None, "a revoked key has no sessions");
    let refused = store.keys.make_link(&created.key.id, "cli", ten_minutes, minute(11)).await;
    assert!(matches!(refused, Err(StoreError::Conflict { .. })));
    let lost = store.keys.make_link(&ApiKeyId::new("none"), "cli", ten_minutes, minute(11)).await;
    assert!(matches!(lost, Err(StoreError::NotFound { .. })));
}

pub async fn a_key_ends_when_it_was_said_to_and_its_sessions_with_it(store: Store) {
    let (day, end) = (chrono::TimeDelta::days(1), minute(30));
    let created = store.keys.create_until(new_key("guest"), Some(end), "ann", start()).await.unwrap();
    assert_eq!(created.key.expires_at, Some(end));
    let secret = created.secret.expose_secret();
    let session = store.keys.sign_in(secret, day, start()).await.unwrap().unwrap().session;
    let session = session.expose_secret();
    assert!(store.keys.verify(secret, minute(29)).await.unwrap().is_some());
    assert!(store.keys.session(session, minute(29)).await.unwrap().is_some());

    assert_eq!(store.keys.verify(secret, end).await.unwrap(), None, "its time is over");
    assert_eq!(store.keys.session(session, end).await.unwrap(), None, "an expired key has no sessions");
    assert!(store.keys.sign_in(secret, day, end).await.unwrap().is_none());
    let link = store.keys.make_link(&created.key.id, "ann", day, end).await;
    assert!(matches!(link, Err(StoreError::Conflict { .. })));
    let past = store.keys.create_until(new_key("late"), Some(start()), "ann", start()).await;
    assert!(matches!(past, Err(StoreError::Invalid { .. })), "an end in the past is a mistake");
    let made = AuditFilter { event: Some("api_key.created".to_owned()), ..AuditFilter::default() };
    let made = store.audit.list(&SCOPE, &made, 1).await.unwrap();
    assert_eq!(made[0].entry.actor, "ann", "who made it is on the record");
}

pub async fn a_key_carries_its_project_and_scopes(store: Store) {
    let other = other_scope(&store).await;
    let scopes = [KeyScope::Read, KeyScope::Ingest].into_iter().collect();
    let new = NewApiKey { project: Some(other.project_id().clone()), scopes, ..new_key("customer") };
    let created = store.keys.create(new, start()).await.unwrap();
    let key = store.keys.verify(created.secret.expose_secret(), start()).await.unwrap().unwrap();
    assert_eq!(key.scope(), other);
    assert!(key.allows(KeyScope::Read) && key.allows(KeyScope::Ingest));
    assert!(!key.allows(KeyScope::Operate) && !key.allows(KeyScope::Admin));
    let lost = NewApiKey { project: Some(ProjectId::new("nowhere")), ..new_key("lost") };
    assert!(matches!(store.keys.create(lost, start()).await, Err(StoreError::NotFound { .. })));
    let idle = NewApiKey { scopes: Default::default(), ..new_key("idle") };
    assert!(matches!(store.keys.create(idle, start()).await, Err(StoreError::Invalid { .. })));
}

pub async fn two_live_keys_never_share_a_name(store: Store) {
    let first = store.keys.create(new_key("ann"), start()).await.unwrap();
    let again = store.keys.create(new_key("ann"), start()).await;
    assert!(matches!(again, Err(StoreError::Conflict { .. })));
    store.keys.revoke(&first.key.id, "admin", start()).await.unwrap();
    let second = store.keys.create(new_key("ann"), minute(1)).await.unwrap();
    let names: Vec<_> = store.keys.list().await.unwrap().into_iter().map(|key| key.id).collect();
    assert_eq!(names, [second.key.id, first.key.id]);
}

pub async fn the_secret_is_nowhere_but_in_the_answer(store: Store) {
    let created = store.keys.create(new_key("ci"), start()).await.unwrap();
    let secret = created.secret.expose_secret();
    assert!(!format!("{created:?}").contains(secret));
    assert!(created.key.prefix.len() < 12 && secret.starts_with(&created.key.prefix));
    let listed = format!("{:?}", store.keys.list().await.unwrap());
    assert!(!listed.contains(secret));
    let log = format!("{:?}", store.audit.list(&scope(), &AuditFilter::default(), 100).await.unwrap());
    assert!(!log.contains(secret));
    let other = store.keys.create(new_key("other"), start()).await.unwrap();
    assert_ne!(other.secret.expose_secret(), secret);
}

pub async fn a_signature_is_accepted_once_within_its_time(store: Store) {
    let ttl = Duration::from_secs(600);
    let remember = |signature, now| store.replay.remember_signature(&SCOPE, signature, ttl, now);
    assert!(remember("v0=abc", start()).await.unwrap());
    assert!(!remember("v0=abc", start()).await.unwrap());
    assert!(remember("v0=def", start()).await.unwrap());
    assert!(!remember("v0=abc", start() + TimeDelta::seconds(600) - microsecond()).await.unwrap());
    assert!(remember("v0=abc", start() + TimeDelta::seconds(600)).await.unwrap(), "forgotten when it ran out");
}

pub async fn of_many_equal_signatures_at_once_one_is_accepted(store: Store) {
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let replay = store.replay.clone();
            let ttl = Duration::from_secs(600);
            tokio::spawn(async move { replay.remember_signature(&SCOPE, "v0=same", ttl, start()).await.unwrap() })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|accepted| **accepted).count(), 1);
    assert_eq!(answers.iter().collect::<HashSet<_>>().len(), 2);
}

static SCOPE: std::sync::LazyLock<Scope> = std::sync::LazyLock::new(scope);

fn new_key(name: &str) -> NewApiKey {
    NewApiKey {
        name: name.to_owned(),
        person: "Ann".to_owned(),
        scopes: [KeyScope::Operate].into_iter().collect(),
        project: None,
    }
}
