//! Digests on SQLite.

use super::SqliteStore;
use super::connection::DbResult;
use super::listing::Filter;
use super::values::{RowExt, micros, one, run, to_json};
use crate::Result;
use crate::model::{Digest, Digests, Page, PageRequest, Scope};
use async_trait::async_trait;
use rusqlite::{Connection, Row, params};

fn read_digest(row: &Row<'_>) -> rusqlite::Result<Digest> {
    Ok(Digest {
        id: row.get("id")?,
        week_start: row.time("week_start")?,
        week_end: row.time("week_end")?,
        time_zone: row.get("time_zone")?,
        created_at: row.time("created_at")?,
        narrator: row.get("narrator")?,
        report: row.get("report")?,
        sections: row.json("sections")?,
        figures: row.json("figures")?,
        queries: row.json("queries")?,
        gaps: row.json("gaps")?,
        cost_usd: row.get("cost_usd")?,
    })
}

fn find(connection: &Connection, scope: &Scope, id: &str) -> DbResult<Option<Digest>> {
    let sql = "SELECT * FROM digests WHERE project_id = ?1 AND id = ?2";
    one(connection, sql, params![scope.project_id(), id], read_digest)
}

#[async_trait]
impl Digests for SqliteStore {
    async fn put(&self, scope: &Scope, digest: Digest) -> Result<()> {
        let scope = scope.clone();
        self.write("keeping a digest", move |tx| {
            run(
                tx.connection,
                "INSERT OR REPLACE INTO digests (project_id, id, week_start, week_end, time_zone, created_at, narrator,
                     report, sections, figures, queries, gaps, cost_usd)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                params![
                    scope.project_id(),
                    digest.id,
                    micros(digest.week_start),
                    micros(digest.week_end),
                    digest.time_zone,
                    micros(digest.created_at),
                    digest.narrator,
                    digest.report,
                    to_json(&digest.sections)?,
                    to_json(&digest.figures)?,
                    to_json(&digest.queries)?,
                    to_json(&digest.gaps)?,
                    digest.cost_usd
                ],
            )?;
            Ok(())
        })
        .await
    }

    async fn get(&self, scope: &Scope, id: &str) -> Result<Option<Digest>> {
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read("reading a digest", move |connection| find(connection, &scope, &id)).await
    }

    async fn list(&self, scope: &Scope, page: &PageRequest) -> Result<Page<Digest>> {
        let (scope, page) = (scope.clone(), page.clone());
        self.read("listing digests", move |connection| {
            Filter::scoped(&scope).page(connection, "digests", "week_end", &page, read_digest)
        })
        .await
    }
}
