//! Narrations on SQLite.

use super::SqliteStore;
use super::listing::Filter;
use super::values::{RowExt, micros, run, to_json, whole_micros};
use crate::Result;
use crate::model::{
    ModelUse, Narration, NarrationFilter, Narrations, NewExplanation, NewNarration, Page, PageRequest, Scope,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Row, params};

fn read_narration(row: &Row<'_>) -> rusqlite::Result<Narration> {
    Ok(Narration {
        id: row.get("id")?,
        told_at: row.time("told_at")?,
        narration: NewNarration {
            kind: row.get("kind")?,
            subject_id: row.get("subject_id")?,
            provider: row.get("provider")?,
            model: row.get("model")?,
            host: row.get("host")?,
            outcome: row.get("outcome")?,
            reason: row.get("reason")?,
            requests: row.get("requests")?,
            prompt_tokens: row.get("prompt_tokens")?,
            completion_tokens: row.get("completion_tokens")?,
            sent: row.get("sent")?,
            sent_sha256: row.get("sent_sha256")?,
            redactions: row.json("redactions")?,
            answer: row.get("answer")?,
        },
    })
}

#[async_trait]
impl Narrations for SqliteStore {
    async fn append(&self, scope: &Scope, new: NewNarration, now: DateTime<Utc>) -> Result<Narration> {
        let scope = scope.clone();
        self.write("keeping a narration", move |tx| {
            let id: String = tx.ids.next(now);
            run(
                tx.connection,
                "INSERT INTO narrations (project_id, id, kind, subject_id, told_at, provider, model, host, outcome, reason,
                     requests, prompt_tokens, completion_tokens, sent, sent_sha256, redactions, answer)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
                params![
                    scope.project_id(),
                    id,
                    new.kind,
                    new.subject_id,
                    micros(now),
                    new.provider,
                    new.model,
                    new.host,
                    new.outcome,
                    new.reason,
                    new.requests,
                    new.prompt_tokens,
                    new.completion_tokens,
                    new.sent,
                    new.sent_sha256,
                    to_json(&new.redactions)?,
                    new.answer
                ],
            )?;
            Ok(Narration { id, told_at: whole_micros(now), narration: new })
        })
        .await
    }

    async fn list(&self, scope: &Scope, filter: &NarrationFilter, page: &PageRequest) -> Result<Page<Narration>> {
        let (scope, filter, page) = (scope.clone(), filter.clone(), page.clone());
        self.read("listing narrations", move |connection| {
            Filter::scoped(&scope).equal("kind", filter.kind).equal("subject_id", filter.subject_id).page(
                connection,
                "narrations",
                "told_at",
                &page,
                read_narration,
            )
        })
        .await
    }

    async fn append_explanation(&self, scope: &Scope, new: NewExplanation, now: DateTime<Utc>) -> Result<()> {
        let scope = scope.clone();
        self.write("keeping an explanation", move |tx| {
            let id: String = tx.ids.next(now);
            run(
                tx.connection,
                "INSERT INTO explanations (project_id, id, signal_id, asked_by, asked_at, provider, model, host, outcome,
                     reason, requests, prompt_tokens, completion_tokens, sent_sha256, redactions)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
                params![
                    scope.project_id(),
                    id,
                    new.signal_id,
                    new.asked_by,
                    micros(now),
                    new.provider,
                    new.model,
                    new.host,
                    new.outcome,
                    new.reason,
                    new.requests,
                    new.prompt_tokens,
                    new.completion_tokens,
                    new.sent_sha256,
                    to_json(&new.redactions)?
                ],
            )?;
            Ok(())
        })
        .await
    }

    async fn explained_since(&self, scope: &Scope, asked_by: &str, since: DateTime<Utc>) -> Result<ModelUse> {
        let (scope, asked_by) = (scope.clone(), asked_by.to_owned());
        self.read("counting explanations", move |connection| {
            let sql = "SELECT coalesce(sum(requests), 0), coalesce(sum(prompt_tokens + completion_tokens), 0)
                       FROM explanations WHERE project_id = ?1 AND asked_by = ?2 AND asked_at >= ?3";
            let read = |row: &Row<'_>| Ok(ModelUse { requests: row.get(0)?, tokens: row.get(1)? });
            Ok(connection.prepare_cached(sql)?.query_row(params![scope.project_id(), asked_by, micros(since)], read)?)
        })
        .await
    }

    async fn used_since(&self, scope: &Scope, since: DateTime<Utc>) -> Result<ModelUse> {
        let scope = scope.clone();
        self.read("counting what models were asked", move |connection| {
            let sql = "SELECT coalesce(sum(requests), 0), coalesce(sum(prompt_tokens + completion_tokens), 0) FROM (
                           SELECT requests, prompt_tokens, completion_tokens FROM narrations
                           WHERE project_id = ?1 AND told_at >= ?2
                           UNION ALL
                           SELECT requests, prompt_tokens, completion_tokens FROM explanations
                           WHERE project_id = ?1 AND asked_at >= ?2)";
            let read = |row: &Row<'_>| Ok(ModelUse { requests: row.get(0)?, tokens: row.get(1)? });
            Ok(connection.prepare_cached(sql)?.query_row(params![scope.project_id(), micros(since)], read)?)
        })
        .await
    }
}
