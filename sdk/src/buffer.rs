//! Where events wait: a ring whose oldest make room for new ones.
//!
//! Must hold: putting an event in never waits for anybody, whatever the sending thread does.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

use crate::event::Event;

/// Counts since the client was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Events that were put in.
    pub enqueued: u64,
    /// Events that had to make room.
    pub overwritten: u64,
    /// Events that every output took, those the server knew already included.
    pub delivered: u64,
    /// Events that some output did not take, after all attempts.
    pub lost: u64,
    /// Those of the lost ones that the server refused for what they say; [`crate::Options::on_rejected`] is told why.
    pub rejected: u64,
}

impl Stats {
    /// Events that still wait or are on their way.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.enqueued.saturating_sub(self.overwritten + self.delivered + self.lost)
    }
}

#[derive(Debug)]
pub(crate) struct Ring {
    queue: ArrayQueue<Box<Event>>,
    enqueued: AtomicU64,
    overwritten: AtomicU64,
    delivered: AtomicU64,
    lost: AtomicU64,
    rejected: AtomicU64,
}

impl Ring {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            queue: ArrayQueue::new(capacity.max(1)),
            enqueued: AtomicU64::new(0),
            overwritten: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            rejected: AtomicU64::new(0),
        }
    }

    pub(crate) fn push(&self, event: Event) {
        // Counted first, so that nobody sees more events handled than there were.
        self.enqueued.fetch_add(1, Ordering::AcqRel);
        if self.queue.force_push(Box::new(event)).is_some() {
            self.overwritten.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The oldest events, at most `most`.
    #[allow(clippy::vec_box, reason = "they lie in boxes already: the ring has small slots")]
    pub(crate) fn take(&self, most: usize) -> Vec<Box<Event>> {
        std::iter::from_fn(|| self.queue.pop()).take(most).collect()
    }

    /// Counts what became of events that were taken.
    pub(crate) fn handled(&self, delivered: usize, lost: usize) {
        self.delivered.fetch_add(delivered as u64, Ordering::AcqRel);
        self.lost.fetch_add(lost as u64, Ordering::AcqRel);
    }

    /// Counts events that the server refused; they are among the lost ones too.
    pub(crate) fn rejected(&self, events: usize) {
        self.rejected.fetch_add(events as u64, Ordering::AcqRel);
    }

    pub(crate) fn stats(&self) -> Stats {
        // What was handled first: an event in between counts as waiting.
        let (delivered, lost) = (self.delivered.load(Ordering::Acquire), self.lost.load(Ordering::Acquire));
        let overwritten = self.overwritten.load(Ordering::Acquire);
        let rejected = self.rejected.load(Ordering::Acquire);
        Stats { enqueued: self.enqueued.load(Ordering::Acquire), overwritten, delivered, lost, rejected }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Identity, Payload};
    use std::sync::Arc;

    #[test]
    fn the_oldest_make_room_and_are_counted() {
        let run = Arc::new(Identity {
            run_id: "r".to_owned(),
            agent_id: "a".to_owned(),
            agent_version: "v".to_owned(),
            parent_run_id: None,
            nonce: 0,
        });
        let ring = Ring::new(3);
        for number in 0..5 {
            let payload = Payload::LlmCalled { model: String::new(), prompt_tokens: 0 };
            ring.push(Event { run: Arc::clone(&run), step: 0, number, at: 0.0, payload });
        }
        let numbers: Vec<u32> = ring.take(10).iter().map(|event| event.number).collect();
        assert_eq!(numbers, [2, 3, 4]);
        assert_eq!(ring.stats(), Stats { enqueued: 5, overwritten: 2, ..Stats::default() });
        assert_eq!(ring.stats().waiting(), 3);
        ring.handled(2, 1);
        assert_eq!(ring.stats().waiting(), 0);
    }
}
