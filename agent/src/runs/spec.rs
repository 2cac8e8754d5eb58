//! The header of a run detector's file, read once.
//!
//! A file is SQL over `ingest.*` (which holds the due runs, and nothing else, while it is run), or a declared rule without
//! SQL ([`super::rule`]). Each row is one finding about one run. The columns `run_id`, `at_step`, `confidence` and
//! `severity` are taken by the judge; all others are the evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tripline_engine::Params;
use tripline_store::Severity;

use super::rule::Rule;
use crate::queries::header::{Header, HeaderError};
use crate::queries::spec::{BINDINGS, Bindings, SeverityRule, TextTemplate, all_bound, bindings, keys, name, title};
use crate::settings::Settings;

/// The table of what runs are compared with.
pub const BASELINES: &str = "baselines";

/// A detector of runs.
#[derive(Debug, Clone)]
pub struct RunDetectorSpec {
    /// The file; of a declared rule, with the SQL it stands for.
    pub header: Arc<Header>,
    /// Its name.
    pub name: String,
    /// The failure type of its findings.
    pub kind: String,
    /// Its name for people.
    pub title: String,
    /// Severity of a finding.
    pub severity: SeverityRule,
    /// Its bindings.
    pub bindings: Bindings,
    /// Values of a declared rule.
    pub values: Params,
    /// Whether runs are compared with earlier ones (`input.baselines`).
    pub baselines: bool,
    /// Confidence of a finding whose row does not say it.
    pub confidence: f64,
    /// Evidence that is kept when it is NULL; other columns are left out then.
    pub always: BTreeSet<String>,
    /// Evidence that is there with dynamic confidence only.
    pub dynamic_only: BTreeSet<String>,
    /// Digits behind the point.
    pub round: BTreeMap<String, usize>,
    /// Text columns that hold JSON.
    pub json: BTreeSet<String>,
    /// One sentence about a finding; without it the explanation's title.
    pub description: Option<TextTemplate>,
}

impl RunDetectorSpec {
    /// Reads the header of a run detector.
    ///
    /// # Errors
    /// [`HeaderError`] for the first thing that is wrong.
    pub fn new(mut header: Header) -> Result<Self, HeaderError> {
        let own = ["type", "severity", "confidence", "always", "dynamic", "round", "json", "description"];
        let mut repeated = BINDINGS.to_vec();
        repeated.push("when");
        header.only(&keys(&own), &repeated)?;
        let mut values = Params::new();
        if let Some(rule) = Rule::read(&header)? {
            header = rule.into_query(header, &mut values);
        }
        let bindings = bindings(&header)?;
        for input in &bindings.inputs {
            if input.name != BASELINES {
                let line = header.find("input").map_or(1, |entry| entry.line);
                let message = format!("there is no input '{}' for runs", input.name);
                return Err(header.error(line, message, Some(format!("write -- input: {BASELINES}"))));
            }
        }
        let mut given: Vec<&str> = vec!["dynamic"];
        given.extend(values.keys().map(String::as_str));
        all_bound(&header, &bindings, &given)?;
        let name = name(&header)?;
        let severity = header.required("severity")?.value.clone();
        let description = match header.find("description") {
            None => None,
            Some(entry) => {
                Some(TextTemplate::parse(&entry.value).map_err(|reason| header.error(entry.line, reason, None))?)
            }
        };
        let confidence =
            match header.find("confidence") {
                None => 0.5,
                Some(entry) => entry.value.parse().ok().filter(|c| (0.0..=1.0).contains(c)).ok_or_else(|| {
                    header.error(entry.line, format!("'{}' is no number from 0 to 1", entry.value), None)
                })?,
            };
        let kind = header.find("type").map_or_else(|| name.to_uppercase(), |entry| entry.value.clone());
        if super::explain::BUNDLED.contains(&kind.as_str()) && name.to_uppercase() != kind {
            // A run has each type once: a detector on trial must not take a live one's place.
            let line = header.find("type").map_or(1, |entry| entry.line);
            let hint = format!("choose another type, or call the file {}.sql to take its place", kind.to_lowercase());
            return Err(header.error(line, format!("{kind} is the type of a bundled detector"), Some(hint)));
        }
        Ok(Self {
            title: title(&header),
            severity: severity.parse::<Severity>().map_or_else(|_| SeverityRule::Column(severity), SeverityRule::Fixed),
            baselines: !bindings.inputs.is_empty(),
            bindings,
            values,
            confidence,
            always: header.list("always").into_iter().collect(),
            dynamic_only: header.list("dynamic").into_iter().collect(),
            round: rounding(&header)?,
            json: header.list("json").into_iter().collect(),
            description,
            header: Arc::new(header),
            name,
            kind,
        })
    }

    /// Whether the file is one of the installation's own, not a bundled one or one that takes its place.
    #[must_use]
    pub fn is_own(&self) -> bool {
        !super::explain::BUNDLED.contains(&self.name.to_uppercase().as_str())
    }

    /// Whether it comes from a file of the installation's home, also one that takes a bundled detector's place.
    #[must_use]
    pub fn is_file(&self) -> bool {
        !self.header.origin.starts_with("queries/")
    }

    /// SHA-256 of its text, in hex.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(self.header.sql.as_bytes()))
    }

    /// What its placeholders are bound to.
    #[must_use]
    pub fn params(&self, settings: &Settings, dynamic: bool) -> Params {
        let mut params = self.bindings.values(settings);
        params.extend(self.values.clone());
        if self.header.placeholders.contains("dynamic") {
            params.insert("dynamic".to_owned(), tripline_engine::Param::Bool(dynamic));
        }
        params
    }
}

/// `-- round: ratio = 1, growth = 2`
fn rounding(header: &Header) -> Result<BTreeMap<String, usize>, HeaderError> {
    let line = header.find("round").map_or(1, |entry| entry.line);
    let read = |item: String| {
        let parsed = item.split_once('=').and_then(|(column, digits)| {
            let digits = digits.trim().parse::<usize>().ok().filter(|digits| *digits <= 9)?;
            Some((column.trim().to_owned(), digits))
        });
        parsed.ok_or_else(|| {
            let hint = Some("write -- round: column = digits".to_owned());
            header.error(line, format!("'{item}' is no rounding"), hint)
        })
    };
    header.list("round").into_iter().map(read).collect()
}
