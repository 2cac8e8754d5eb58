//! Pages on their way, and which of them wait to be tried again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts the pages of a scan that are on their way. While some wait to be tried again, others may be asked for.
#[derive(Debug, Default)]
pub(crate) struct Held {
    under_way: AtomicUsize,
    waiting: AtomicUsize,
    moved: Notify,
}

/// A page that waits to be tried again, until it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Held);

/// A page on its way, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay(Arc<Held>);

impl Held {
    /// A page is asked for.
    pub(crate) fn start(held: &Arc<Self>) -> UnderWay {
        held.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(held))
    }

    /// A page waits to be tried again.
    pub(crate) fn hold(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        self.moved.notify_waiters();
        Waiting(self)
    }

    /// Whether any page waits to be tried again.
    pub(crate) fn any(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Pages on their way that do not wait.
    pub(crate) fn moving(&self) -> usize {
        self.under_way.load(Ordering::Relaxed).saturating_sub(self.waiting.load(Ordering::Relaxed))
    }

    /// The next change, counted from this call.
    pub(crate) fn moved(&self) -> impl Future<Output = ()> + '_ {
        self.moved.notified()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
        self.0.moved.notify_waiters();
    }
}
