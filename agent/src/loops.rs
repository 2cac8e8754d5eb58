//! What of a loop can be stopped: the runs of its trace that agents sent to Tripline and that have not ended.
//!
//! Owns: reading this from a finding, and saying it. Must hold: an agent is asked by the ids it asks with, those of its runs;
//! where none is known that is said, and never that something was stopped.

use serde_json::Value;
use tripline_store::KillTarget;

/// What of a trace runs here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// These runs: each asks for itself whether it is to stop.
    Runs(Vec<String>),
    /// No run of it is known here: only an agent that asks with the id of the trace would see a request.
    TraceOnly,
    /// Its runs have ended.
    Ended,
}

impl Reach {
    /// Reads a finding: `runs` (ids of runs that go on) and `ended_runs` (how many do not). Without these columns no run is known.
    #[must_use]
    pub fn of(evidence: &Value) -> Self {
        let listed = evidence.get("runs").and_then(Value::as_array).into_iter().flatten();
        let ids = listed.filter_map(Value::as_str).filter(|id| KillTarget::new(id).is_ok());
        let runs: Vec<String> = ids.map(str::to_owned).collect();
        let ended = evidence.get("ended_runs").and_then(Value::as_i64).unwrap_or_default();
        match (runs.is_empty(), ended > 0) {
            (false, _) => Self::Runs(runs),
            (true, true) => Self::Ended,
            (true, false) => Self::TraceOnly,
        }
    }

    /// The runs that can be asked.
    #[must_use]
    pub fn runs(&self) -> &[String] {
        match self {
            Self::Runs(runs) => runs,
            Self::TraceOnly | Self::Ended => &[],
        }
    }

    /// What a request to stop comes to, for those who decide about it.
    #[must_use]
    pub fn request(&self, trace_id: &str) -> String {
        match self {
            Self::Runs(runs) if runs.as_slice() == [trace_id] => {
                format!("Asks run {trace_id} to stop; it stops when it next asks.")
            }
            Self::Runs(runs) => {
                format!("Asks {} of trace {trace_id} to stop; it stops when it next asks.", named(runs))
            }
            Self::TraceOnly => format!(
                "Asks the agent behind trace {trace_id} to stop. No run of it is known here: only an agent that asks \
                 Tripline with this trace id will see it, any other has to be stopped where it runs."
            ),
            Self::Ended => format!("The runs of trace {trace_id} have ended: there is nothing to stop."),
        }
    }

    /// What to do, in one sentence.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::Runs(runs) => format!("Stop {} now.", named(runs)),
            Self::TraceOnly => {
                "Stop this trace where it runs: no run of it is known here, so a request to stop reaches only an \
                                agent that asks with its trace id."
                    .to_owned()
            }
            Self::Ended => "Its runs have ended by themselves: nothing is left to stop.".to_owned(),
        }
    }
}

/// `run a`; `runs a, b and 3 more`.
pub(crate) fn named(runs: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = runs.iter().take(SHOWN).map(String::as_str).collect();
    let word = if runs.len() == 1 { "run" } else { "runs" };
    match runs.len().saturating_sub(SHOWN) {
        0 => format!("{word} {}", shown.join(", ")),
        more => format!("{word} {} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_can_be_stopped_is_read_from_the_finding_and_said() {
        let of = |evidence: Value| Reach::of(&evidence);
        assert_eq!(of(json!({"runs": ["a", "b"], "ended_runs": 3})), Reach::Runs(vec!["a".into(), "b".into()]));
        assert_eq!(of(json!({"runs": [], "ended_runs": 1})), Reach::Ended);
        // A detector of somebody's own, or a vendor's trace.
        for unknown in [json!({}), json!({"runs": [], "ended_runs": 0}), json!({"runs": "a"}), json!({"runs": [" "]})] {
            assert_eq!(of(unknown), Reach::TraceOnly);
        }
        assert!(Reach::Runs(vec!["a".into()]).request("t").starts_with("Asks run a of trace t to stop"));
        assert!(Reach::Runs(vec!["t".into()]).request("t").starts_with("Asks run t to stop"));
        assert!(Reach::TraceOnly.request("t").contains("No run of it is known here"));
        assert!(Reach::Ended.advice().contains("nothing is left to stop"));
        let many: Vec<String> = (0..5).map(|n| n.to_string()).collect();
        assert_eq!(named(&many), "runs 0, 1, 2 and 2 more");
    }
}
