//! A first spec of a source, drafted from the OpenAPI document of its API.
//!
//! Owns: reading OpenAPI 3.0 and 3.1 (JSON or YAML), guessing tables, columns, paging and credentials, and saying what
//! a person must still decide. Does not own: the format itself (`spec`), which the draft satisfies.
//!
//! Must hold: what is written parses as a spec; every guess is listed; nothing is fetched.

mod api;
mod auth;
mod paging;
#[cfg(test)]
mod tests;
mod write;

use serde_json::Value;

use crate::spec;

/// A drafted spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// The spec file's text.
    pub yaml: String,
    /// What a person must look at, one sentence each; also in the text, as comments.
    pub decisions: Vec<String>,
    /// How many tables it has.
    pub tables: usize,
}

/// Drafts the spec of a source called `name` from the text of an OpenAPI document.
///
/// # Errors
/// A sentence, when the text is no such document, has no list to make a table of, or the name is none.
pub fn draft(name: &str, text: &str) -> Result<Draft, String> {
    if let Some(problem) = spec::source_name_problem(name) {
        return Err(problem);
    }
    let document: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(_) => serde_saphyr::from_str(text)
            .map_err(|error| format!("the document is neither JSON nor YAML: {}", error.without_snippet()))?,
    };
    let version = document["openapi"].as_str().unwrap_or_default();
    if !version.starts_with("3.") {
        let found = document["swagger"].as_str().map(|v| format!("it is Swagger {v}; convert it first"));
        let found = found.unwrap_or_else(|| "it has no `openapi: 3.…`".to_owned());
        return Err(format!("the document is not OpenAPI 3.0 or 3.1: {found}"));
    }
    let mut decisions = Vec::new();
    let api = api::read(&document, &mut decisions)?;
    let yaml = write::write(name, &api, &decisions);
    // A draft that its own reader refuses would be no help.
    spec::parse("the draft", &yaml).map_err(|errors| format!("no valid spec could be drafted: {errors}"))?;
    Ok(Draft { yaml, decisions, tables: api.tables.len() })
}
