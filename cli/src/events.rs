//! Keeping the event log in shape beside a server: sealing, compaction, retention, as the settings say.
//!
//! Owns when it is done, and where sealed events are kept. Does not own how (the store's `ingest`).

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tripline_agent::settings::{IngestSettings, SettingsHandle};
use tripline_engine::{SharedClock, parse_duration};
use tripline_store::{IngestPolicy, MaintenancePolicy, ProjectId, SqliteStore};

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What the settings say of taking events.
pub(crate) fn ingest_policy(settings: &IngestSettings) -> IngestPolicy {
    let keep_content = settings.keep_content.iter().map(|id| ProjectId::new(id.as_str())).collect();
    IngestPolicy { keep_content, ..IngestPolicy::default() }
}

/// What the settings say of keeping events. They were checked when they were read.
fn maintenance_policy(settings: &IngestSettings) -> MaintenancePolicy {
    let defaults = MaintenancePolicy::default();
    MaintenancePolicy {
        seal_events: settings.seal_events,
        seal_after: parse_duration(&settings.seal_after).unwrap_or(defaults.seal_after),
        file_events: settings.file_events,
        keep_for: parse_duration(&settings.keep_for).ok(),
        grace: defaults.grace,
    }
}

/// Keeps the log in shape until told to stop. What is under way is finished first.
pub(crate) fn keep(
    store: &SqliteStore,
    clock: &SharedClock,
    settings: &SettingsHandle,
    stop: &CancellationToken,
) -> JoinHandle<()> {
    let (store, clock, settings, stop) = (store.clone(), Arc::clone(clock), settings.clone(), stop.clone());
    store.set_ingest_policy(ingest_policy(&settings.get().ingest));
    tokio::spawn(async move {
        if let Err(error) = store.recall_events(clock.now()).await {
            tracing::warn!(error = error.report(), "the events of the last day are recalled with the first batch");
        }
        let mut changes = settings.changes();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
                Ok(()) = changes.changed() => store.set_ingest_policy(ingest_policy(&settings.get().ingest)),
            }
            let policy = maintenance_policy(&settings.get().ingest);
            match store.maintain_events(clock.now(), &policy).await {
                Ok(done) if done == Default::default() => {}
                Ok(done) => tracing::info!(
                    sealed = done.sealed,
                    compacted = done.compacted,
                    expired = done.expired,
                    removed = done.removed,
                    "the event log was brought into shape"
                ),
                Err(error) => {
                    tracing::warn!(error = error.report(), "the event log is not in shape; it is tried again")
                }
            }
        }
    })
}
