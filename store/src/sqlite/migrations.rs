//! The schema, as a list of steps that is only ever appended to.

use super::connection::sqlite_error;
use crate::{Result, StoreError};
use rusqlite::Connection;
use rusqlite_migration::{M, Migrations};
use std::path::Path;

const STEPS: &[M<'static>] = &[
    M::up(include_str!("../../migrations/0001_state.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0002_ingest.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0003_runs.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0004_sessions.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0005_told.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0006_sign_in.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0007_modes.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0008_explained.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0009_rollups.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0010_received.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0011_key_expiry.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0012_sampler.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0013_shared_risk.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0014_quarters.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0015_patterns.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0016_signals_of_agents.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0017_agents_at_a_glance.sql")).foreign_key_check(),
    M::up(include_str!("../../migrations/0018_run_detectors.sql")).foreign_key_check(),
];
const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);

/// The version of the schema that this program writes (`PRAGMA user_version`).
pub const SCHEMA_VERSION: usize = STEPS.len();

/// Brings the file to the current version.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<()> {
    if version(connection)? > SCHEMA_VERSION {
        return require_current(connection, path);
    }
    MIGRATIONS.to_latest(connection).map_err(|error| StoreError::Database {
        doing: "migrating the state database",
        message: match error {
            // Without the text of the whole migration.
            rusqlite_migration::Error::RusqliteError { err, .. } => err.to_string(),
            other => other.to_string(),
        },
    })
}

/// Refuses a file of another version.
pub(super) fn require_current(connection: &Connection, path: &Path) -> Result<()> {
    match version(connection)? {
        SCHEMA_VERSION => Ok(()),
        found => Err(StoreError::SchemaVersion { path: path.to_path_buf(), found, wanted: SCHEMA_VERSION }),
    }
}

fn version(connection: &Connection) -> Result<usize> {
    connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map_err(|error| sqlite_error("reading the schema version", error))
        .and_then(|version| {
            usize::try_from(version)
                .map_err(|_| StoreError::Corrupt { what: "schema version", reason: version.to_string() })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_applies_to_an_empty_database_and_again_changes_nothing() {
        MIGRATIONS.validate().unwrap();
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("memory");
        migrate(&mut connection, path).unwrap();
        let count = |connection: &Connection| -> i64 {
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap()
        };
        let before = count(&connection);
        migrate(&mut connection, path).unwrap();
        assert_eq!(count(&connection), before);
        assert_eq!(version(&connection).unwrap(), SCHEMA_VERSION);
    }

    #[test]
    fn a_database_of_a_newer_program_is_refused_and_left_alone() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "user_version", 999).unwrap();
        let error = migrate(&mut connection, Path::new("memory")).unwrap_err();
        assert!(matches!(error, StoreError::SchemaVersion { found: 999, .. }));
        assert!(error.hint().unwrap().contains("newer Tripline"));
        assert_eq!(version(&connection).unwrap(), 999);
    }
}
