//! The ids the store makes: UUID version 7, from the time it is told and a seeded source of randomness.

use chrono::{DateTime, Utc};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use uuid::Builder;

/// Width of the counter that keeps ids of one millisecond in the order they were made.
const COUNTER_BITS: u32 = 18;

/// Makes ids. Ids made later sort later, as long as the clock does not go back.
pub(crate) struct Ids {
    random: StdRng,
    counter: u32,
}

impl Ids {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        let random = seed.map_or_else(StdRng::from_os_rng, StdRng::seed_from_u64);
        Self { random, counter: 0 }
    }

    pub(crate) fn next<Id: From<String>>(&mut self, now: DateTime<Utc>) -> Id {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
        self.counter = (self.counter + 1) % (1 << COUNTER_BITS);
        let mut tail = [0_u8; 10];
        self.random.fill_bytes(&mut tail);
        // Of the ten bytes, the version takes the high half of the first and the variant two bits of the third:
        // the counter fills the 4 + 8 + 6 bits between them.
        let [_, high, middle, low] = self.counter.to_be_bytes();
        let counter = (u32::from(high) << 16) | (u32::from(middle) << 8) | u32::from(low);
        tail[0] = (counter >> 14) as u8 & 0x0f;
        tail[1] = (counter >> 6) as u8;
        tail[2] = counter as u8 & 0x3f;
        Builder::from_unix_timestamp_millis(millis, &tail).into_uuid().to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_instant_sort_in_the_order_they_were_made() {
        let mut ids = Ids::new(Some(7));
        let now = DateTime::from_timestamp(1_763_000_000, 0).unwrap();
        let made: Vec<String> = (0..5_000).map(|_| ids.next(now)).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn one_seed_gives_one_sequence_and_the_system_gives_another_each_time() {
        let now = DateTime::from_timestamp(1_763_000_000, 0).unwrap();
        let first = |seed| Ids::new(seed).next::<String>(now);
        assert_eq!(first(Some(1)), first(Some(1)));
        assert_ne!(first(Some(1)), first(Some(2)));
        assert_ne!(first(None), first(None));
    }
}
