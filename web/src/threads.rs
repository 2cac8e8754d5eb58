//! Threads of their own for work that runs queries: one that keeps its threads busy holds up other queries, never the server.
//!
//! Owns: the threads. Must hold: whoever drops what [`QueryThreads::run`] returns stops the work, as soon as it hands its
//! thread back; the end of the server waits for none of it.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// See the module.
#[derive(Debug)]
pub struct QueryThreads {
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

impl QueryThreads {
    /// Starts a thread per core; `name` is what the operating system shows.
    ///
    /// # Errors
    /// When the operating system gives none.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name(name).enable_all().build()?;
        Ok(Self { runtime: Some(runtime) })
    }

    /// Begins `work` there; `None` when the server ends.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<AbortOnDropHandle<T>> {
        self.runtime.as_ref().map(|runtime| AbortOnDropHandle::new(runtime.spawn(work)))
    }
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
