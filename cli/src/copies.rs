//! Local copies of remote tables, as the settings ask for them.
//!
//! Owns: which tables get a copy in front of them, and keeping copies up to date beside a server. Does not own: how a
//! copy works (the engine's `copy`) or is stored (the store's).

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tripline_agent::settings::{Settings, SyncSettings};
use tripline_connectors::{Connectors, Source};
use tripline_engine::copy::{CopiedTable, CopyId, CopyPolicy, CopyState, TimeSpan, listing};
use tripline_engine::{
    CompletenessReport, EngineError, LocalTable, QueryContext, RemoteTable, ScanError, ScanRun, SharedClock,
    parse_duration,
};
use tripline_store::ParquetCopies;

use crate::app::Home;
use crate::failure::Failure;

/// Requests that bringing one table up to date may send.
const MAX_REQUESTS: u64 = 100_000;
/// How long it may take at most, beside a server; what it had taken in by then stays.
const PATIENCE: Duration = Duration::from_secs(600);

/// The tables that have copies.
#[derive(Debug)]
pub(crate) struct Copies {
    store: Arc<ParquetCopies>,
    tables: Vec<Kept>,
}

#[derive(Debug, Clone)]
struct Kept {
    table: Arc<CopiedTable>,
    interval: Duration,
}

impl Copies {
    /// Puts a copy in front of each table that the settings name.
    pub(crate) fn open(home: &Home, connectors: &Connectors, settings: &Settings) -> Result<Self, Failure> {
        let store = ParquetCopies::new(home.path.join("copies"));
        let mut tables = Vec::new();
        for (name, sync) in &settings.sync {
            let hint = "SELECT source, name FROM tripline.tables lists all tables";
            let unknown = || Failure::new(format!("settings: sync.{name}: there is no table {name}")).hint(hint);
            let (source, table) = name.split_once('.').ok_or_else(unknown)?;
            let source = connectors.source(source).ok_or_else(unknown)?;
            let table = source.table(table).ok_or_else(unknown)?;
            // A source that is not configured has no rows to keep.
            let Some(account) = source.account() else { continue };
            let (policy, interval) =
                policy(sync).map_err(|why| Failure::new(format!("settings: sync.{name}: {why}")))?;
            let table = CopiedTable::new(table, Arc::clone(&store) as _, policy, account);
            let table = table.map_err(|why| Failure::new(format!("settings: sync.{name}: {why}")))?;
            tables.push(Kept { table, interval });
        }
        Ok(Self { store, tables })
    }

    /// The tables of a source, copies in front of those that have one.
    pub(crate) fn in_front_of(&self, source: &Source) -> Vec<Arc<dyn RemoteTable>> {
        let copied = |table: Arc<dyn RemoteTable>| -> Arc<dyn RemoteTable> {
            let mine = self.tables.iter().find(|k| k.table.source() == source.name() && k.table.name() == table.name());
            mine.map_or(table, |kept| Arc::clone(&kept.table) as _)
        };
        source.tables().into_iter().map(copied).collect()
    }

    /// `tripline.copies`
    pub(crate) fn table(&self) -> Result<LocalTable, EngineError> {
        let provider = listing(Arc::clone(&self.store) as _)?;
        Ok(LocalTable { schema: "tripline".to_owned(), name: "copies".to_owned(), provider })
    }

    /// Brings copies up to date, or reads `span` of them again; those of `only`, if given.
    pub(crate) async fn sync(
        &self,
        only: Option<&str>,
        span: Option<TimeSpan>,
        clock: &SharedClock,
        patience: Duration,
    ) -> Result<Vec<Synced>, Failure> {
        let named = |kept: &&Kept| {
            only.is_none_or(|name| name.split_once('.') == Some((kept.table.source(), kept.table.name())))
        };
        let tables: Vec<&Kept> = self.tables.iter().filter(named).collect();
        if let (Some(name), true) = (only, tables.is_empty()) {
            return Err(Failure::new(format!("no local copy of {name} is kept"))
                .hint("name it under `sync` in settings.json, see docs/copies.md"));
        }
        let mut synced = Vec::new();
        for kept in tables {
            let (copies, report) = bring_up_to_date(&kept.table, span, clock, patience).await;
            let copies = copies.map_err(|error| Failure::from(EngineError::Source(error)))?;
            synced.push(Synced { copies, report });
        }
        Ok(synced)
    }

    /// Keeps every copy up to date until told to stop.
    pub(crate) fn keep(&self, clock: &SharedClock, stop: &CancellationToken) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for kept in self.tables.clone() {
            let (clock, stop) = (Arc::clone(clock), stop.clone());
            tasks.spawn(async move {
                loop {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(kept.interval) => {}
                    }
                    let synced = tokio::select! {
                        () = stop.cancelled() => return,
                        synced = bring_up_to_date(&kept.table, None, &clock, PATIENCE) => synced.0,
                    };
                    if let Err(error) = synced {
                        tracing::warn!(%error, "a local copy was not brought up to date");
                    }
                }
            });
        }
        tasks
    }
}

/// What became of the copies of one table.
pub(crate) struct Synced {
    pub(crate) copies: Vec<(CopyId, CopyState)>,
    pub(crate) report: CompletenessReport,
}

async fn bring_up_to_date(
    table: &Arc<CopiedTable>,
    span: Option<TimeSpan>,
    clock: &SharedClock,
    patience: Duration,
) -> (Result<Vec<(CopyId, CopyState)>, ScanError>, CompletenessReport) {
    let query = QueryContext::new(clock.now(), patience, MAX_REQUESTS);
    let stats = query.report.scan(table.source(), table.name());
    let run = ScanRun::alone(Arc::clone(&query), stats);
    let started = tokio::time::Instant::now();
    let copies = table.sync(span, &run).await;
    (copies, query.report.finish(0, false, started.elapsed()))
}

fn policy(sync: &SyncSettings) -> Result<(CopyPolicy, Duration), String> {
    let delta = |text: &str| {
        parse_duration(text).and_then(|length| TimeDelta::from_std(length).map_err(|error| error.to_string()))
    };
    let policy = CopyPolicy { window: delta(&sync.window)?, overlap: delta(&sync.overlap)?, time: sync.time.clone() };
    Ok((policy, parse_duration(&sync.interval)?))
}
