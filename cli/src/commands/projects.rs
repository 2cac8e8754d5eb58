//! `tripline projects`: whose rows are whose. Beside a running server or without one.

use chrono::{DateTime, Utc};
use tripline_store::{Project, ProjectId, SqliteStore, StoreError};

use crate::app::{Home, clock};
use crate::args::ProjectsCommand;
use crate::failure::Failure;
use crate::terminal;

pub(crate) async fn run(command: ProjectsCommand, home: &Home) -> Result<(), Failure> {
    let store = home.open_store(tripline_store::OpenMode::Beside).await?;
    match command {
        ProjectsCommand::Create { id, name } => {
            let project = create(&store, id, name, clock(None).now()).await?;
            terminal::line(&format!("project {} ({}) created", project.id, project.name));
        }
        ProjectsCommand::List => {
            let rows = store.store().projects.list().await?.into_iter().map(|project| {
                let made = project.created_at.map_or_else(|| "at installation".to_owned(), |at| at.to_rfc3339());
                vec![project.id.to_string(), project.name, made]
            });
            terminal::line(&terminal::table(&["id", "name", "created"], rows.collect()));
        }
    }
    Ok(())
}

/// Makes a project.
async fn create(store: &SqliteStore, id: String, name: Option<String>, now: DateTime<Utc>) -> Result<Project, Failure> {
    let name = name.unwrap_or_else(|| id.clone());
    store.store().projects.create(&ProjectId::new(id), &name, now).await.map_err(|error| match error {
        StoreError::Conflict { .. } => {
            Failure::from(error).hint("choose another id; `tripline projects list` shows which are taken")
        }
        StoreError::Invalid { field: "name", .. } => Failure::from(error).hint("give another one with --name"),
        other => other.into(),
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;
    use tripline_store::{AuditFilter, KeyScope, NewApiKey, OpenMode, Scope};

    use super::*;

    fn open(folder: &tempfile::TempDir) -> SqliteStore {
        SqliteStore::open(folder.path().join("tripline.db"), OpenMode::Beside).unwrap()
    }

    #[tokio::test]
    async fn a_project_is_made_once_audited_and_keys_belong_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let now = DateTime::UNIX_EPOCH;
        let made = create(&store, "acme".to_owned(), None, now).await.unwrap();
        assert_eq!((made.id.as_str(), made.name.as_str()), ("acme", "acme"));

        let again = create(&store, "acme".to_owned(), Some("Other".to_owned()), now).await.unwrap_err();
        assert!(again.to_string().contains("projects list"), "{again}");

        let scope = Scope::project(ProjectId::new("acme"));
        let log = store.store().audit.list(&scope, &AuditFilter::default(), 10).await.unwrap();
        assert_eq!(log.iter().map(|row| row.entry.event.as_str()).collect::<Vec<_>>(), ["project.created"]);

        let key = NewApiKey {
            name: "agents".to_owned(),
            person: "Ann".to_owned(),
            scopes: [KeyScope::Read].into_iter().collect(),
            project: Some(made.id),
        };
        let secret = store.store().keys.create(key, now).await.unwrap().secret;
        let verified = store.store().keys.verify(secret.expose_secret(), now).await.unwrap().unwrap();
        assert_eq!(verified.scope(), scope);
    }

    #[tokio::test]
    async fn what_is_no_id_or_no_name_makes_no_project() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let long = "x".repeat(201);
        for (id, name) in [("../x", Some("X")), ("Acme", None), ("acme", Some(" ")), ("acme", Some(long.as_str()))] {
            let made = create(&store, id.to_owned(), name.map(str::to_owned), DateTime::UNIX_EPOCH).await;
            assert!(made.is_err(), "{id} {name:?}");
        }
        assert_eq!(store.store().projects.list().await.unwrap().len(), 1, "the installation's own");
    }
}
