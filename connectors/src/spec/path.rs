//! Paths into a JSON answer.
//!
//! Owns: the notation `a.b.0.c`, in which a segment of digits indexes an array, `\.` is a dot inside a key and a last
//! segment `#` is the length of an array. Does not own: reading answers along a path (`decode`).

use std::fmt;

/// One step of a [`JsonPath`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Segment {
    /// The value under a key of an object.
    Key(String),
    /// The value at a position of an array, from 0.
    Index(usize),
    /// The number of items of an array.
    Length,
}

/// A path into a JSON value. The empty path is the value itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct JsonPath(pub Vec<Segment>);

impl JsonPath {
    /// Parses the notation.
    ///
    /// # Errors
    /// A sentence saying what is wrong: an empty segment, or `#` anywhere but last.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut names = vec![(String::new(), false)];
        let mut characters = text.chars();
        while let Some(c) = characters.next() {
            match c {
                '.' => names.push((String::new(), false)),
                '\\' => {
                    if let (Some(escaped), Some((name, quoted))) = (characters.next(), names.last_mut()) {
                        name.push(escaped);
                        *quoted = true;
                    }
                }
                c => {
                    if let Some((name, _)) = names.last_mut() {
                        name.push(c);
                    }
                }
            }
        }
        let last = names.len() - 1;
        let segments = names.into_iter().enumerate().map(|(i, (name, quoted))| {
            if name.is_empty() {
                Err(format!("the JSON path `{text}` has an empty segment"))
            } else if name == "#" && !quoted {
                if i == last {
                    Ok(Segment::Length)
                } else {
                    Err(format!("in the JSON path `{text}` the segment `#` (array length) must be last"))
                }
            } else if !quoted && name.bytes().all(|b| b.is_ascii_digit()) {
                name.parse().map(Segment::Index).map_err(|_| format!("the index {name} in `{text}` is too large"))
            } else {
                Ok(Segment::Key(name))
            }
        });
        segments.collect::<Result<_, _>>().map(Self)
    }

    /// Whether the path is the whole value.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        for segment in &self.0 {
            match segment {
                Segment::Key(key) => write!(f, ".{key}")?,
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Length => f.write_str(".length")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_shows_how_it_was_understood() {
        for (text, shown) in [
            ("", "$"),
            ("a", "$.a"),
            ("a.b", "$.a.b"),
            ("projects.0.slug", "$.projects[0].slug"),
            (r"event\.type", "$.event.type"),
            ("observations.#", "$.observations.length"),
        ] {
            assert_eq!(JsonPath::parse(text).unwrap().to_string(), shown);
        }
        assert_eq!(JsonPath::parse(r"event\.type").unwrap().0, [Segment::Key("event.type".to_owned())]);
    }

    #[test]
    fn a_path_with_an_empty_segment_or_a_misplaced_length_is_refused() {
        for text in [".", "a..b", "a.", "#.a"] {
            assert!(JsonPath::parse(text).is_err(), "{text}");
        }
    }
}
