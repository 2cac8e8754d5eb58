//! Chance that does not depend on what else is generated.
//!
//! Must hold: a part's numbers follow from the seed and the part's own name alone, so that adding
//! an incident to a history leaves the rest of it as it was.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// A generator of its own for a named part.
pub(crate) fn part(seed: u64, name: &str) -> SmallRng {
    // FNV-1a: stable between Rust releases, unlike the standard hasher.
    let hash = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    SmallRng::seed_from_u64(seed ^ hash)
}

/// Hexadecimal digits.
pub(crate) fn hex(rng: &mut SmallRng, digits: usize) -> String {
    (0..digits).map(|_| char::from_digit(rng.random_range(0..16), 16).unwrap_or('0')).collect()
}

/// A value around `mean`, at most `spread` (a fraction of it) away.
pub(crate) fn around(rng: &mut SmallRng, mean: f64, spread: f64) -> f64 {
    mean * (1.0 + spread * rng.random_range(-1.0..1.0))
}

/// One of several.
pub(crate) fn pick<'a, T>(rng: &mut SmallRng, from: &'a [T]) -> Option<&'a T> {
    if from.is_empty() {
        return None;
    }
    from.get(rng.random_range(0..from.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_follows_from_the_seed_and_the_name_alone() {
        let drawn = |seed, name| hex(&mut part(seed, name), 16);
        assert_eq!(drawn(1, "a"), drawn(1, "a"));
        assert_ne!(drawn(1, "a"), drawn(2, "a"));
        assert_ne!(drawn(1, "a"), drawn(1, "b"));
    }
}
