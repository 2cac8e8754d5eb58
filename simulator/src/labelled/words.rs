//! What things are called in a labelled history: syllables by chance, so that nobody can learn the names.
//!
//! Must hold: another way of naming ([`Words::renamed`]) takes the same chance, so that the same things happen under other names;
//! what is alike under one name is alike under the other.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

const SYLLABLES: [&str; 24] = [
    "ba", "cor", "del", "fen", "gri", "hu", "jal", "kem", "lo", "mir", "nax", "ol", "pra", "quin", "ros", "sti", "tev",
    "ul", "vor", "wen", "xi", "yar", "zo", "tha",
];
const SEPARATORS: [&str; 5] = ["-", "_", " ", ".", "/"];
const CONSONANTS: [char; 12] = ['b', 'd', 'f', 'g', 'k', 'l', 'm', 'n', 'p', 's', 't', 'v'];
const VOWELS: [char; 5] = ['a', 'e', 'i', 'o', 'u'];

/// A way of naming things.
#[derive(Debug, Clone, Copy)]
pub(super) struct Words {
    separator: &'static str,
    /// Other syllables, in the places of the usual ones. All have three letters: no two words become one.
    others: Option<[[char; 3]; 24]>,
}

impl Words {
    pub(super) fn new(rng: &mut StdRng) -> Self {
        Self { separator: SEPARATORS[rng.random_range(0..SEPARATORS.len())], others: None }
    }

    /// Other names for the same things, by a chance of their own.
    pub(super) fn renamed(self, seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut all: Vec<[char; 3]> = Vec::new();
        for first in CONSONANTS {
            for vowel in VOWELS {
                all.extend(CONSONANTS.map(|last| [first, vowel, last]));
            }
        }
        all.shuffle(&mut rng);
        let mut others = [['a'; 3]; 24];
        for (place, syllable) in others.iter_mut().zip(all) {
            *place = syllable;
        }
        Self { separator: SEPARATORS[rng.random_range(0..SEPARATORS.len())], others: Some(others) }
    }

    fn syllable(self, rng: &mut StdRng) -> String {
        let place = rng.random_range(0..SYLLABLES.len());
        match self.others {
            Some(others) => others[place].iter().collect(),
            None => SYLLABLES[place].to_owned(),
        }
    }

    pub(super) fn word(self, rng: &mut StdRng) -> String {
        (0..rng.random_range(2..4)).map(|_| self.syllable(rng)).collect()
    }

    /// A name of two words and a number that makes it the only one.
    pub(super) fn name(self, rng: &mut StdRng, number: usize) -> String {
        format!("{}{}{}{number}", self.word(rng), self.separator, self.word(rng))
    }

    /// What allows only letters and digits.
    pub(super) fn plain(self, rng: &mut StdRng, number: usize) -> String {
        format!("{}{number}", self.word(rng))
    }

    pub(super) fn sentence(self, rng: &mut StdRng, words: usize) -> String {
        (0..words).map(|_| self.word(rng)).collect::<Vec<_>>().join(" ")
    }
}
