//! Texts with placeholders: `{{input.org}}`, `{{owner}}`, `{{value}}`.
//!
//! Owns: parsing a template once into literal parts and resolved slots. Does not own: what fills a slot, nor encoding
//! what is filled in (that depends on where it goes; see `http::url`).

/// A part of a template whose placeholders were resolved to `S`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part<S> {
    /// Text as it stands.
    Literal(String),
    /// Something to fill in.
    Slot(S),
}

/// A text with placeholders resolved to `S`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template<S>(pub Vec<Part<S>>);

impl<S> Template<S> {
    /// Parses `text`, resolving each placeholder's name.
    ///
    /// # Errors
    /// A sentence per placeholder that is unclosed or that `resolve` refuses.
    pub fn parse(text: &str, mut resolve: impl FnMut(&str) -> Result<S, String>) -> Result<Self, Vec<String>> {
        let mut parts = Vec::new();
        let mut errors = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            if !before.is_empty() {
                parts.push(Part::Literal(before.to_owned()));
            }
            let Some((name, after)) = after.split_once("}}") else {
                errors.push(format!("`{text}` has `{{{{` without `}}}}`"));
                return Err(errors);
            };
            match resolve(name.trim()) {
                Ok(slot) => parts.push(Part::Slot(slot)),
                Err(error) => errors.push(error),
            }
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        if errors.is_empty() { Ok(Self(parts)) } else { Err(errors) }
    }

    /// The slots, in order.
    pub fn slots(&self) -> impl Iterator<Item = &S> {
        self.0.iter().filter_map(|part| match part {
            Part::Slot(slot) => Some(slot),
            Part::Literal(_) => None,
        })
    }

    /// The text with every slot filled.
    pub fn fill(&self, mut value: impl FnMut(&S) -> String) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Literal(text) => text.clone(),
                Part::Slot(slot) => value(slot),
            })
            .collect()
    }
}
