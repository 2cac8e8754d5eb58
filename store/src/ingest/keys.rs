//! The keys of the events of the last day, by which an event that arrives twice is known.
//!
//! Owns the set in memory and its bounds. Does not own the keys on disk (`ingest_keys`), from which it is made anew. Must
//! hold: a key is known for at least 24 hours after it was kept, and for less than 26; the set takes a bounded amount of memory
//! (some 20 bytes a key); what is taken back is not known.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

use sha2::{Digest, Sha256};

use super::check::Checked;
use crate::model::Scope;

/// Bytes of a key as it is stored.
pub(super) const KEY: usize = 16;
/// Hours after its own that a key is known for.
const HOURS: i64 = 24;
/// Parts of the set: a part that grows keeps only those waiting who need it.
const PARTS: usize = 64;

const HOUR_US: i64 = 3_600_000_000;

/// What makes two events one, within a project: the event id, else the hash of the canonical form.
pub(super) type Key = [u8; KEY];

/// Of a key in memory one byte is the hour, so that an entry has 16.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Short([u8; KEY - 1]);

impl Hash for Short {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        state.write_u64(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
    }
}

/// Keys are parts of a SHA-256: mixing in a secret of the process is all that is needed.
#[derive(Clone)]
struct Mix(u64);

impl BuildHasher for Mix {
    type Hasher = Mixed;
    fn build_hasher(&self) -> Mixed {
        Mixed(self.0)
    }
}

struct Mixed(u64);

impl Hasher for Mixed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// What sets the keys of one project apart from those of all others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Salt([u8; KEY]);

impl Salt {
    pub(super) fn of(scope: &Scope) -> Self {
        Self(prefix(&Sha256::digest(scope.project_id().as_str())))
    }

    /// The key of an event.
    pub(super) fn key(&self, checked: &Checked) -> Key {
        let mut key = match &checked.event.event_id {
            Some(id) => prefix(&Sha256::new().chain_update(b"event_id:").chain_update(id).finalize()),
            None => prefix(&checked.sha256),
        };
        for (byte, salt) in key.iter_mut().zip(self.0) {
            *byte ^= salt;
        }
        key
    }
}

fn prefix(digest: &[u8]) -> Key {
    let mut key = [0; KEY];
    for (to, from) in key.iter_mut().zip(digest) {
        *to = *from;
    }
    key
}

/// The hour of a time in microseconds since 1970.
pub(super) fn hour(micros: i64) -> i64 {
    micros.div_euclid(HOUR_US)
}

/// The time from which on keys count, for events that arrive at `micros`.
pub(super) fn horizon(micros: i64) -> i64 {
    (hour(micros) - HOURS) * HOUR_US
}

/// The set.
pub(super) struct Keys {
    /// By the last byte of the key; the value is the hour, modulo 256.
    parts: Vec<HashMap<Short, u8, Mix>>,
    count: usize,
    most: usize,
    /// The newest hour a key was kept in.
    newest: i64,
    /// The part that is cleaned next, and what is too old there. Cleaning goes part by part.
    cleaning: Option<(usize, i64)>,
    /// The sequence number up to which the log's keys are in here.
    pub(super) seen: i64,
    /// How many keys were forgotten early for want of memory.
    pub(super) forgotten: u64,
}

impl Keys {
    /// A set of at most `most` keys, whose hash is seeded.
    pub(super) fn new(most: usize, seed: u64) -> Self {
        let parts = (0..PARTS).map(|_| HashMap::with_hasher(Mix(seed))).collect();
        Self { parts, count: 0, most, newest: i64::MIN, cleaning: None, seen: 0, forgotten: 0 }
    }

    /// How many keys are known.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds a key of an event that arrived in `hour`; `false` if it was known.
    pub(super) fn add(&mut self, key: &Key, hour: i64) -> bool {
        self.turn(hour);
        let (part, short) = split(key);
        let newest = self.newest;
        let Some(part) = self.parts.get_mut(part) else { return true };
        match part.entry(short) {
            std::collections::hash_map::Entry::Occupied(mut known) => {
                if is_known(*known.get(), newest) {
                    return false;
                }
                known.insert(hour as u8);
            }
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(hour as u8);
                self.count += 1;
            }
        }
        true
    }

    /// Takes a key back.
    pub(super) fn remove(&mut self, key: &Key) {
        let (part, short) = split(key);
        if self.parts.get_mut(part).is_some_and(|part| part.remove(&short).is_some()) {
            self.count -= 1;
        }
    }

    /// Goes on to an hour, and forgets some of what is too old.
    fn turn(&mut self, hour: i64) {
        if hour > self.newest {
            // After a pause of days the hours modulo 256 would be ambiguous.
            if self.newest != i64::MIN && hour - self.newest > HOURS {
                self.parts.iter_mut().for_each(HashMap::clear);
                self.count = 0;
            }
            self.newest = hour;
            self.cleaning = Some((0, HOURS));
        } else if self.count >= self.most && self.cleaning.is_none() {
            // Full: the oldest half of the day goes before its time.
            self.cleaning = Some((0, HOURS / 2));
        }
        let Some((part, hours)) = self.cleaning else { return };
        let newest = self.newest;
        if let Some(keys) = self.parts.get_mut(part) {
            let before = keys.len();
            keys.retain(|_, hour| age(*hour, newest) <= hours);
            self.count -= before - keys.len();
            if hours < HOURS {
                self.forgotten += (before - keys.len()) as u64;
            }
            // Full of one hour's keys: then all go, for memory is bounded.
            if hours < HOURS && self.count >= self.most && before == keys.len() {
                self.forgotten += before as u64;
                self.count -= before;
                keys.clear();
            }
        }
        self.cleaning = (part + 1 < PARTS).then_some((part + 1, hours));
    }
}

fn split(key: &Key) -> (usize, Short) {
    let [short @ .., last] = *key;
    (usize::from(last) % PARTS, Short(short))
}

/// Hours between a key's and the newest.
fn age(hour: u8, newest: i64) -> i64 {
    i64::from((newest as u8).wrapping_sub(hour))
}

fn is_known(hour: u8, newest: i64) -> bool {
    age(hour, newest) <= HOURS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        prefix(&Sha256::digest(n.to_le_bytes()))
    }

    #[test]
    fn a_key_is_known_for_a_day_and_not_for_ever() {
        let mut keys = Keys::new(1_000, 1);
        assert!(keys.add(&key(1), 100));
        assert!(!keys.add(&key(1), 100));
        assert!(!keys.add(&key(1), 124));
        assert!(keys.add(&key(1), 125));
        assert!(!keys.add(&key(1), 125));
    }

    #[test]
    fn what_is_taken_back_is_not_known() {
        let mut keys = Keys::new(1_000, 1);
        keys.add(&key(1), 5);
        keys.remove(&key(1));
        assert_eq!(keys.count(), 0);
        assert!(keys.add(&key(1), 5));
    }

    #[test]
    fn old_keys_go_as_the_hours_pass() {
        let mut keys = Keys::new(1_000_000, 1);
        for hour in 0..100 {
            for n in 0..200 {
                assert!(keys.add(&key(hour as u64 * 1_000 + n), hour));
            }
        }
        assert!(keys.count() <= 26 * 200, "{}", keys.count());
        assert_eq!(keys.forgotten, 0);
    }

    #[test]
    fn after_a_pause_of_eleven_days_nothing_old_is_known() {
        let mut keys = Keys::new(1_000, 1);
        keys.add(&key(1), 10);
        assert!(keys.add(&key(1), 10 + 256));
    }

    #[test]
    fn memory_is_bounded_and_what_is_forgotten_early_is_counted() {
        let mut keys = Keys::new(10_000, 1);
        for n in 0..100_000 {
            keys.add(&key(n), (n / 10_000) as i64);
        }
        assert!(keys.count() < 20_000, "{}", keys.count());
        assert!(keys.forgotten > 0);
        assert!(!keys.add(&key(99_999), 9), "the newest are known");
    }
}
