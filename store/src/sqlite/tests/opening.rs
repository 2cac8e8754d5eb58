//! Promises about opening: who may, with which rights, and what is there afterwards.

use super::Home;
use crate::StoreError;
use crate::conformance::fixtures::*;
use crate::model::*;
use crate::sqlite::{OpenMode, OpenOptions, SCHEMA_VERSION, SqliteStore};
use std::time::Duration;

#[tokio::test]
async fn a_second_server_is_refused_and_told_who_holds_the_home() {
    let home = Home::new();
    let first = home.serve();
    let Err(error) = SqliteStore::open(home.path(), OpenMode::Serve) else { panic!("two servers") };
    let pid = std::process::id();
    assert!(matches!(error, StoreError::Locked { pid: Some(found), .. } if found == pid));
    let report = error.report();
    assert!(report.contains(&format!("process {pid} holds it")) && report.contains("hint: stop process"), "{report}");
    drop(first);
    SqliteStore::open(home.path(), OpenMode::Serve).unwrap();
}

#[tokio::test]
async fn reading_and_small_writes_beside_a_server_see_live_rows() {
    let home = Home::new();
    let server = home.serve().store();
    let incident = incident(&server).await;
    let reader = home.open(OpenMode::ReadOnly).store();
    assert_eq!(reader.incidents.get(&scope(), &incident.id).await.unwrap(), Some(incident.clone()));
    let beside = home.open(OpenMode::Beside).store();
    beside.incidents.set_message(&scope(), &incident.id, "C1", "1.1", minute(16)).await.unwrap();
    for store in [&server, &reader] {
        let seen = store.incidents.get(&scope(), &incident.id).await.unwrap().unwrap();
        assert_eq!(seen.slack_ts.as_deref(), Some("1.1"));
    }
}

#[tokio::test]
async fn a_store_opened_for_reading_refuses_every_write() {
    let home = Home::new();
    drop(home.serve());
    let reader = home.open(OpenMode::ReadOnly);
    assert_eq!(reader.writer_stats(), None);
    let refused = reader.store().audit.append(&scope(), entry("e"), start()).await;
    assert!(matches!(refused, Err(StoreError::ReadOnly)));
    assert_eq!(reader.store().audit.head(&scope()).await.unwrap().seq, 0);
}

#[test]
fn opening_for_reading_creates_nothing() {
    let home = Home::new();
    let Err(error) = SqliteStore::open(home.path(), OpenMode::ReadOnly) else { panic!("opened") };
    assert!(matches!(error, StoreError::NoDatabase { .. }));
    assert!(error.hint().unwrap().contains("tripline serve"));
    assert!(!home.path().parent().unwrap().exists());
}

#[test]
fn a_file_of_another_version_is_refused_in_every_mode_that_may_not_migrate() {
    let home = Home::new();
    drop(home.serve());
    let set_version = |version: i64| home.raw().pragma_update(None, "user_version", version).unwrap();
    for (version, modes) in [
        (SCHEMA_VERSION as i64 + 1, vec![OpenMode::Serve, OpenMode::Beside, OpenMode::ReadOnly]),
        (0, vec![OpenMode::ReadOnly]),
    ] {
        set_version(version);
        for mode in modes {
            let Err(error) = SqliteStore::open(home.path(), mode) else { panic!("{mode:?} opened version {version}") };
            assert!(matches!(error, StoreError::SchemaVersion { .. }), "{error:?}");
            assert!(error.hint().is_some());
        }
    }
}

#[test]
fn nobody_migrates_under_a_running_server() {
    let home = Home::new();
    let server = home.serve();
    home.raw().pragma_update(None, "user_version", 0).unwrap();
    let Err(error) = SqliteStore::open(home.path(), OpenMode::Beside) else { panic!("migrated") };
    assert!(matches!(error, StoreError::SchemaVersion { found: 0, .. }));
    drop(server);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let store = home.serve();
    store.store().audit.append(&scope(), entry("e"), start()).await.unwrap();
    let folder = home.path().parent().unwrap().to_path_buf();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    let mut names = Vec::new();
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        names.push(path.file_name().unwrap().to_string_lossy().into_owned());
    }
    assert!(names.iter().any(|name| name == "tripline.db-wal"), "{names:?}");
    drop(store);

    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o644)).unwrap();
    drop(home.serve());
    assert_eq!(mode(&home.path()), 0o600, "tightened");
}

#[tokio::test]
async fn the_writer_waits_for_the_disk_and_checks_what_refers_to_what() {
    let home = Home::new();
    let store = home.serve();
    let pragmas = store.write("testing", |tx| {
        let number = |name| tx.connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let journal: String = tx.connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
        Ok((journal, number("synchronous")?, number("foreign_keys")?, number("recursive_triggers")?))
    });
    assert_eq!(pragmas.await.unwrap(), ("wal".to_owned(), 2, 1, 1), "2 is FULL");
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let home = Home::new();
    let ttl = Duration::from_secs(600);
    let store = home.store();
    let incident = incident(&store).await;
    let approval = store.approvals.request(&scope(), new_approval(&incident), start()).await.unwrap().approval;
    assert!(store.replay.remember_signature(&scope(), "v0=abc", ttl, start()).await.unwrap());
    store.jobs.advance(&scope(), "job", minute(5)).await.unwrap();
    drop(store);

    let store = home.store();
    assert_eq!(store.incidents.get(&scope(), &incident.id).await.unwrap(), Some(incident));
    assert_eq!(store.approvals.get(&scope(), &approval.id).await.unwrap(), Some(approval));
    assert!(!store.replay.remember_signature(&scope(), "v0=abc", ttl, minute(5)).await.unwrap());
    assert_eq!(store.jobs.watermark(&scope(), "job").await.unwrap(), Some(minute(5)));
}

#[tokio::test]
async fn closing_folds_the_log_back_into_the_file() {
    let home = Home::new();
    let store = home.serve();
    store.store().audit.append(&scope(), entry("e"), start()).await.unwrap();
    store.store().audit.head(&scope()).await.unwrap();
    drop(store);
    let names: Vec<_> = std::fs::read_dir(home.path().parent().unwrap())
        .unwrap()
        .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(!names.iter().any(|name| name.ends_with("-wal")), "{names:?}");
}

#[tokio::test]
async fn no_secret_of_a_key_and_no_signature_is_in_the_file() {
    let home = Home::new();
    let store = home.store();
    let new = NewApiKey {
        name: "ci".to_owned(),
        person: "Ann".to_owned(),
        scopes: [KeyScope::Read].into_iter().collect(),
        project: None,
    };
    let created = store.keys.create(new, start()).await.unwrap();
    store.replay.remember_signature(&scope(), "v0=s1gnature", Duration::from_secs(9), start()).await.unwrap();
    drop(store);
    let bytes = std::fs::read(home.path()).unwrap();
    let holds = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("api_key.created") && holds(&created.key.prefix), "looked in the right place");
    assert!(!holds(secrecy::ExposeSecret::expose_secret(&created.secret)));
    assert!(!holds("s1gnature"));
}

#[tokio::test]
async fn a_seed_makes_the_ids_repeatable() {
    let id_of = |seed| async move {
        let home = Home::new();
        let options = OpenOptions { id_seed: Some(seed), ..OpenOptions::new(OpenMode::Serve) };
        incident(&SqliteStore::open(home.path(), options).unwrap().store()).await.id
    };
    assert_eq!(id_of(1).await, id_of(1).await);
    assert_ne!(id_of(1).await, id_of(2).await);
}
