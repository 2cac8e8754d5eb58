//! The Dunetrace door: `POST /v1/ingest`, `/v1/deploy`, and what its SDKs look up.
//!
//! **Owns** this wire: its bodies ([`decode`]), gzip and limits ([`body`]), how a sender says who it is ([`senders`]), its
//! answers, and telling senders which of their runs are to stop ([`kills`]). **Does not own** what an event must be like, nor
//! keeping it (store).
//!
//! **Must hold**
//! - 202 is answered after the store said that everything acknowledged is on disk;
//! - a bad event costs its batch nothing: it is rejected with its index, field and reason;
//! - what is refused is refused cheaply: by size before it is read, by form before it is stored;
//! - the memory that bodies take at one time is bounded.

pub(crate) mod body;
pub(crate) mod decode;
pub(crate) mod door;
pub(crate) mod extras;
pub(crate) mod kills;
pub(crate) mod rate;
pub(crate) mod senders;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use tokio::sync::Semaphore;

/// KiB that bodies may take at one time.
const BODIES_KIB: usize = 256 * 1024;

/// What requests of the door share.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) keys: senders::KeyCache,
    pub(crate) kills: kills::KillCache,
    pub(crate) rates: rate::Rates,
    /// A permit is a KiB of body.
    pub(crate) bodies: Arc<Semaphore>,
}

impl Default for Door {
    fn default() -> Self {
        Self {
            keys: senders::KeyCache::default(),
            kills: kills::KillCache::default(),
            rates: rate::Rates::default(),
            bodies: Arc::new(Semaphore::new(BODIES_KIB)),
        }
    }
}
