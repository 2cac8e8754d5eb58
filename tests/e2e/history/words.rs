//! What things are called.

use std::hash::{DefaultHasher, Hash, Hasher};

const SYLLABLES: [&str; 24] = [
    "ba", "cor", "del", "fen", "gri", "hu", "jal", "kem", "lo", "mir", "nax", "ol", "pra", "quin", "ros", "sti", "tev",
    "ul", "vor", "wen", "xi", "yar", "zo", "tha",
];

/// A way of naming things: the same role and number always get the same name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vocabulary {
    seed: u64,
    /// What stands between the words of a name.
    separator: &'static str,
    /// An ending in letters beyond ASCII, or none.
    ending: &'static str,
}

impl Vocabulary {
    /// The vocabulary of a seed; separators and scripts differ among them.
    pub(crate) fn new(seed: u64) -> Self {
        const STYLES: [(&str, &str); 5] = [("-", ""), ("_", ""), (" ", ""), (".", "é"), ("/", "-検索")];
        let (separator, ending) = STYLES[usize::try_from(seed).unwrap() % STYLES.len()];
        Self { seed, separator, ending }
    }

    fn draw(&self, role: &str, number: usize, turn: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        (self.seed, role, number, turn).hash(&mut hasher);
        usize::try_from(hasher.finish() % 1_000_003).unwrap()
    }

    fn word(&self, role: &str, number: usize, turn: usize) -> String {
        let syllable = |part: usize| SYLLABLES[self.draw(role, number, turn * 3 + part) % SYLLABLES.len()];
        format!("{}{}{}", syllable(0), syllable(1), syllable(2))
    }

    /// A plain word of ASCII letters and a number, for what allows nothing else.
    pub(crate) fn plain(&self, role: &str, number: usize) -> String {
        format!("{}{number}", self.word(role, number, 0))
    }

    /// The name of a feature, tool, model or key.
    pub(crate) fn name(&self, role: &str, number: usize) -> String {
        let (first, second) = (self.word(role, number, 0), self.word(role, number, 1));
        format!("{first}{}{second}{number}{}", self.separator, self.ending)
    }

    pub(crate) fn file(&self, number: usize) -> String {
        format!("{}/{}.rb", self.word("folder", number, 0), self.name("file", number).replace('/', "-"))
    }

    /// So many words.
    pub(crate) fn sentence(&self, role: &str, number: usize, words: usize) -> String {
        (0..words).map(|turn| self.word(role, number, turn)).collect::<Vec<_>>().join(" ")
    }
}
