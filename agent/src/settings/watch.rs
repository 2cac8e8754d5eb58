//! Following the settings file while it changes.
//!
//! Owns: one file watcher and the task that reads the file after a pause in its changes. The folder is watched and not the
//! file, because editors replace files. Must hold: a bad file keeps the settings in force; dropping the watcher ends it.

use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tripline_engine::SharedClock;

use super::{SettingsHandle, SettingsLoader};

/// Editors write a file in several steps: it is read once none came for this long.
const DEBOUNCE: Duration = Duration::from_millis(150);

/// Keeps a [`SettingsHandle`] up to date until dropped.
#[derive(Debug)]
pub struct SettingsWatcher {
    _watcher: notify::RecommendedWatcher,
    _task: AbortOnDropHandle<()>,
}

impl SettingsWatcher {
    /// Starts to follow the loader's file. `None` when the loader has no file.
    ///
    /// # Errors
    /// When the folder of the file does not exist or cannot be watched.
    pub fn start(
        loader: SettingsLoader,
        handle: SettingsHandle,
        clock: SharedClock,
    ) -> Result<Option<Self>, notify::Error> {
        let Some(file) = loader.file().map(std::path::Path::to_path_buf) else { return Ok(None) };
        let Some(folder) = file.parent().map(std::path::Path::to_path_buf) else { return Ok(None) };
        let (changed, mut changes) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let concerns_file = event.is_ok_and(|e| !e.kind.is_access() && e.paths.contains(&file));
            if concerns_file {
                // A full channel already says what this would.
                let _ = changed.try_send(());
            }
        })?;
        watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        let task = tokio::spawn(async move {
            while changes.recv().await.is_some() {
                while tokio::time::timeout(DEBOUNCE, changes.recv()).await.is_ok_and(|more| more.is_some()) {}
                reload(&loader, &handle, &clock);
            }
        });
        Ok(Some(Self { _watcher: watcher, _task: AbortOnDropHandle::new(task) }))
    }
}

/// Reads the file now and takes it over if it is valid.
pub fn reload(loader: &SettingsLoader, handle: &SettingsHandle, clock: &SharedClock) {
    let read = loader.load();
    if let Err(error) = &read {
        tracing::warn!(%error, "the settings file was refused; the settings in force stay");
    }
    handle.reloaded(read, clock.now());
}
