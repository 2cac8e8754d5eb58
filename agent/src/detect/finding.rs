//! Findings: rows of a detector, read into what the rest of the agent works with.
//!
//! Owns: reading severity, entity, onset, last sign and cost from the columns that the header names. Must hold: the window and the
//! fingerprint come from the agent, never from a row.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::{Map, Value};
use tripline_engine::{QueryResult, json_rows};
use tripline_store::{LAST_SIGN, NewAnomaly, Severity, Window};

use super::DetectError;
use crate::queries::{DetectorSpec, SeverityRule};

/// One finding of one detector in one window. As JSON: type, severity, entity, the window, then the columns of its row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The incident type.
    #[serde(rename = "type")]
    pub kind: String,
    /// How bad it is.
    pub severity: Severity,
    /// What it is about: a feature, a trace or a tool.
    pub entity: String,
    /// Start of the window.
    pub window_start: DateTime<Utc>,
    /// End of the window.
    pub window_end: DateTime<Utc>,
    /// One sentence for people.
    pub description: String,
    /// What is suggested to be done.
    pub suggested_action: String,
    /// When the condition began, where the detector can tell.
    #[serde(skip)]
    pub onset: Option<DateTime<Utc>>,
    /// When the condition was last at work, where the detector can tell.
    #[serde(skip)]
    pub last_sign: Option<DateTime<Utc>>,
    /// What it cost in US dollars, where the detector can tell.
    #[serde(skip)]
    pub cost_usd: Option<f64>,
    /// What makes two findings the same condition.
    #[serde(skip)]
    pub fingerprint: String,
    /// The name of the detector.
    #[serde(skip)]
    pub detector: String,
    /// The row.
    #[serde(flatten)]
    pub evidence: Map<String, Value>,
}

impl Finding {
    /// The finding as the store keeps it.
    #[must_use]
    pub fn to_anomaly(&self, detected_at: DateTime<Utc>) -> NewAnomaly {
        let mut evidence = self.evidence.clone();
        evidence.insert("suggested_action".to_owned(), Value::from(self.suggested_action.clone()));
        if let Some(last_sign) = self.last_sign {
            evidence.insert(LAST_SIGN.to_owned(), Value::from(last_sign.to_rfc3339()));
        }
        NewAnomaly {
            detector: self.detector.clone(),
            kind: self.kind.clone(),
            severity: self.severity,
            entity: self.entity.clone(),
            fingerprint: self.fingerprint.clone(),
            window: Window { start: self.window_start, end: self.window_end },
            detected_at,
            description: self.description.clone(),
            evidence: Value::Object(evidence),
            cost_usd: self.cost_usd,
            onset: self.onset,
        }
    }
}

/// The rows of a result as JSON objects.
pub(crate) fn rows(origin: &str, result: &QueryResult) -> Result<Vec<Map<String, Value>>, DetectError> {
    json_rows(&result.schema, &result.batches)
        .map_err(|error| DetectError::Result { origin: origin.to_owned(), message: error.to_string() })
}

/// Reads the rows of a detector.
pub(super) fn read(spec: &DetectorSpec, window: Window, result: &QueryResult) -> Result<Vec<Finding>, DetectError> {
    let columns: Vec<&str> = result.schema.fields().iter().map(|field| field.name().as_str()).collect();
    let severity = match &spec.severity {
        SeverityRule::Column(column) => Some(("severity", column)),
        SeverityRule::Fixed(_) => None,
    };
    let named = [("entity", &spec.entity)].into_iter().chain(severity);
    let named = named.chain(spec.onset.iter().map(|c| ("onset", c))).chain(spec.cost.iter().map(|c| ("cost", c)));
    let named = named.chain(spec.last_sign.iter().map(|c| ("last_sign", c)));
    let named =
        named.chain(spec.fingerprint.iter().map(|c| ("fingerprint", c))).chain(spec.json.iter().map(|c| ("json", c)));
    for (key, column) in named {
        if !columns.contains(&column.as_str()) {
            let line = spec.header.find(key).map_or(1, |entry| entry.line);
            let message = format!("'{key}' names the column '{column}', which the query does not return");
            let hint = Some(format!("it returns {}", columns.join(", ")));
            return Err(spec.header.error(line, message, hint).into());
        }
    }
    let rows = rows(&spec.header.origin, result)?;
    rows.into_iter().map(|row| read_row(spec, window, row)).collect()
}

fn read_row(spec: &DetectorSpec, window: Window, mut row: Map<String, Value>) -> Result<Finding, DetectError> {
    let wrong = |message: String| DetectError::Result { origin: spec.header.origin.clone(), message };
    for column in &spec.json {
        if let Some(value) = row.get_mut(column)
            && let Some(parsed) = value.as_str().and_then(|text| serde_json::from_str(text).ok())
        {
            *value = parsed;
        }
    }
    let entity = match row.get(&spec.entity) {
        Some(Value::String(entity)) => entity.clone(),
        Some(Value::Number(entity)) => entity.to_string(),
        _ => return Err(wrong(format!("a finding has no {}", spec.entity))),
    };
    let severity = match &spec.severity {
        SeverityRule::Fixed(severity) => *severity,
        SeverityRule::Column(column) => {
            let text = row.get(column).and_then(Value::as_str).unwrap_or_default();
            text.parse().map_err(|error| wrong(format!("a finding's severity is wrong: {error}")))?
        }
    };
    let fingerprint: Vec<Value> =
        spec.fingerprint.iter().map(|column| row.get(column).cloned().unwrap_or(Value::Null)).collect();
    let description = spec.description.render(&with_entity(&row, &entity));
    let moment = |column: &Option<String>| column.as_ref().and_then(|column| time(row.get(column)?));
    let (onset, last_sign) = (moment(&spec.onset), moment(&spec.last_sign));
    Ok(Finding {
        kind: spec.kind.clone(),
        severity,
        entity,
        window_start: window.start,
        window_end: window.end,
        description,
        suggested_action: spec.action.clone(),
        onset,
        last_sign,
        cost_usd: spec.cost.as_ref().and_then(|column| row.get(column)?.as_f64()),
        fingerprint: spec.fingerprint_of(&fingerprint),
        detector: spec.name.clone(),
        // The finding has them already, under its own names.
        evidence: row
            .into_iter()
            .filter(|(column, _)| column != "severity" && column != "entity" && column != "type")
            .collect(),
    })
}

fn with_entity(row: &Map<String, Value>, entity: &str) -> Map<String, Value> {
    let mut row = row.clone();
    row.entry("entity").or_insert_with(|| Value::from(entity));
    row
}

/// A time as [`json_rows`] writes it.
pub(crate) fn time(value: &Value) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(value.as_str()?).ok().map(|time| time.with_timezone(&Utc))
}
