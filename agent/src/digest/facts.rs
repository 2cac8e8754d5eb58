//! The figures of a digest, each with the query, the row and the field it is from.
//!
//! Must hold: no figure is calculated here: each is a field of a row as the query returned it, or the query's count of rows.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};
use tripline_store::EvidenceStatus;

use super::Asked;

/// A figure and where it is from.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Its value; null when its query is unknown.
    pub value: Value,
    /// Name of the query.
    pub query: String,
    /// The row, from 0; null for the count of rows.
    pub row: Option<usize>,
    /// The field; `row_count` for the count of rows.
    pub field: String,
}

/// The figures by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The figures.
    pub figures: BTreeMap<&'static str, Figure>,
}

/// The figures that are fields of a query's row with scope `total`, or of its only row.
const TOTALS: [(&str, &str, &str); 13] = [
    ("issues", "digest_errors", "issues"),
    ("new_issues", "digest_errors", "new_issues"),
    ("error_events", "digest_errors", "events"),
    ("cost_usd", "digest_costs", "cost_usd"),
    ("generations", "digest_costs", "generations"),
    ("previous_cost_usd", "digest_costs", "previous_cost_usd"),
    ("previous_generations", "digest_costs", "previous_generations"),
    ("cost_change_usd", "digest_costs", "change_usd"),
    ("incidents_opened", "digest_incidents", "opened"),
    ("incidents_open", "digest_incidents", "still_open"),
    ("incidents_cost_usd", "digest_incidents", "cost_usd"),
    ("windows_unjudged", "digest_unjudged", "windows"),
    ("approvals_waiting", "digest_waiting", "approvals"),
];

impl Facts {
    /// The figures of these answers.
    #[must_use]
    pub fn of(asked: &[Asked]) -> Self {
        let mut figures = BTreeMap::new();
        if let Some(merges) = find(asked, "digest_merges") {
            let known = merges.status != EvidenceStatus::Unknown;
            let value = if known { json!(merges.row_count) } else { Value::Null };
            let figure = Figure { value, query: merges.name.clone(), row: None, field: "row_count".to_owned() };
            figures.insert("merged", figure);
        }
        for (name, query, field) in TOTALS {
            let Some(one) = find(asked, query) else { continue };
            let is_total = |row: &Map<String, Value>| row.get("scope").is_none_or(|scope| scope == "total");
            let row = one.rows.iter().position(is_total);
            let value = row.and_then(|row| one.rows.get(row)?.get(field).cloned()).unwrap_or(Value::Null);
            figures.insert(name, Figure { value, query: one.name.clone(), row, field: field.to_owned() });
        }
        Self { figures }
    }

    /// A figure; `None` when it is unknown.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<f64> {
        self.figures.get(name)?.value.as_f64()
    }
}

/// The answer of a query.
pub(super) fn find<'a>(asked: &'a [Asked], name: &str) -> Option<&'a Asked> {
    asked.iter().find(|one| one.name == name)
}
