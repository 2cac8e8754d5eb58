//! One incident of each class, to be put into a healthy world.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::World;

impl World {
    /// From `from` on, calls of `feature` cost `cost` each, one every `every_seconds`.
    pub(crate) fn spike(&mut self, feature: &str, from: DateTime<Utc>, minutes: i64, every_seconds: i64, cost: f64) {
        for n in 0..minutes * 60 / every_seconds {
            let output = json!({"reply": "r", "confidence": 0.5, "lang": "en"});
            self.generation(feature, from + TimeDelta::seconds(n * every_seconds), cost, &output);
        }
    }

    /// From `from` on, one new issue with an event and a retried call of `feature` every half minute.
    pub(crate) fn cascade(&mut self, feature: &str, title: &str, from: DateTime<Utc>, minutes: i64, cost: f64) {
        let times: Vec<_> = (0..minutes * 2).map(|n| from + TimeDelta::seconds(n * 30)).collect();
        for at in &times {
            let output = json!({"reply": "r", "confidence": 0.5, "lang": "en"});
            self.generation(feature, *at + TimeDelta::seconds(2), cost, &output);
        }
        self.issue(title, "svc/client in call", &times, &json!([]));
    }

    /// `calls` calls of `feature` from `from` on, one every three minutes, with this output.
    pub(crate) fn outputs(&mut self, feature: &str, from: DateTime<Utc>, calls: i64, output: &Value) {
        for n in 0..calls {
            self.generation(feature, from + TimeDelta::minutes(3 * n), 0.01, output);
        }
    }

    /// One trace with `calls` generations, ten seconds apart.
    pub(crate) fn repeat(&mut self, trace: &str, name: &str, from: DateTime<Utc>, calls: i64) {
        for n in 0..calls {
            self.generation_in(trace, name, from + TimeDelta::seconds(10 * n), 0.01, &json!("again"));
        }
    }

    /// `calls` calls of a tool from `from` on, one every four minutes, with this output.
    pub(crate) fn tool_calls(&mut self, tool: &str, from: DateTime<Utc>, calls: i64, output: &Value) {
        for n in 0..calls {
            let trace = self.next_id("trace");
            self.tool(&trace, tool, from + TimeDelta::minutes(4 * n), output);
        }
    }

    /// Removes a feature's or tool's observations from an instant on.
    pub(crate) fn silence(&mut self, name: &str, from: DateTime<Utc>) {
        let from = serde_json::to_value(from).unwrap();
        if let Some(rows) = self.rows.get_mut("langfuse.observations") {
            // Both are RFC 3339 in UTC; equal lengths are not needed for whole-day comparisons of the same style.
            rows.retain(|row| {
                row["name"] != name
                    || row["start_time"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap()
                        < from.as_str().unwrap().parse::<DateTime<Utc>>().unwrap()
            });
        }
    }
}
