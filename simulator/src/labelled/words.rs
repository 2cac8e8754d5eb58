//! What things are called in a labelled history: syllables by chance, so that nobody can learn the names.

use rand::Rng;
use rand::rngs::StdRng;

const SYLLABLES: [&str; 24] = [
    "ba", "cor", "del", "fen", "gri", "hu", "jal", "kem", "lo", "mir", "nax", "ol", "pra", "quin", "ros", "sti", "tev",
    "ul", "vor", "wen", "xi", "yar", "zo", "tha",
];
const SEPARATORS: [&str; 5] = ["-", "_", " ", ".", "/"];

/// A way of naming things.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    separator: &'static str,
}

impl Words {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        Self { separator: SEPARATORS[rng.random_range(0..SEPARATORS.len())] }
    }

    pub(super) fn word(rng: &mut StdRng) -> String {
        (0..rng.random_range(2..4)).map(|_| SYLLABLES[rng.random_range(0..SYLLABLES.len())]).collect()
    }

    /// A name of two words and a number that makes it the only one.
    pub(super) fn name(self, rng: &mut StdRng, number: usize) -> String {
        format!("{}{}{}{number}", Self::word(rng), self.separator, Self::word(rng))
    }

    /// What allows only letters and digits.
    pub(super) fn plain(rng: &mut StdRng, number: usize) -> String {
        format!("{}{number}", Self::word(rng))
    }

    pub(super) fn sentence(rng: &mut StdRng, words: usize) -> String {
        (0..words).map(|_| Self::word(rng)).collect::<Vec<_>>().join(" ")
    }
}
