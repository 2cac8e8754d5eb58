//! What to do about a signal, as clients of the Dunetrace API ask for it.
//!
//! Works without any model: the advice is the explanation's own. Which kind of fix a failure type takes is fixed (seed 000;
//! `facts/dunetrace.md` §6): text for the prompt may be applied, changes of code are for people, and what follows from a prompt
//! injection is never applied by itself.

use serde::Serialize;

use super::Explanation;

/// What kind of fix a failure takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FixType {
    /// Text for the system prompt.
    PromptAddition,
    /// A change of the agent's code.
    CodeChange,
    /// Nothing that may be applied.
    NoAutoApply,
}

impl FixType {
    /// The kind that a failure type takes.
    #[must_use]
    pub fn of(failure_type: &str) -> Self {
        match failure_type {
            "CONTEXT_BLOAT" | "RAG_EMPTY_RETRIEVAL" | "SLOW_STEP" | "CASCADING_TOOL_FAILURE" | "LLM_TRUNCATION_LOOP"
            | "FIRST_STEP_FAILURE" => Self::CodeChange,
            "PROMPT_INJECTION_SIGNAL" => Self::NoAutoApply,
            _ => Self::PromptAddition,
        }
    }
}

/// Advice about a signal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// What happened and why it matters.
    pub root_cause: String,
    /// What to add, or to write.
    pub fix_content: String,
    /// The code, where the fix is a change of code; else empty.
    pub fix_patch: String,
    /// What kind of fix it is.
    pub fix_type: FixType,
    /// Whether it cannot be applied from here.
    pub apply_blocked: bool,
}

/// The advice that an explanation holds.
#[must_use]
pub fn advice(explanation: &Explanation) -> Advice {
    let fix_type = FixType::of(&explanation.failure_type);
    let of = |language: &str| explanation.suggested_fixes.iter().find(|fix| fix.language == language);
    let wanted = match fix_type {
        FixType::PromptAddition => of("text").or_else(|| of("python")),
        FixType::CodeChange => of("python").or_else(|| of("text")),
        FixType::NoAutoApply => explanation.suggested_fixes.first(),
    };
    let content = wanted.map(|fix| fix.code.clone()).unwrap_or_default();
    Advice {
        root_cause: format!("{} {}", explanation.what, explanation.why_it_matters),
        fix_patch: if fix_type == FixType::CodeChange { content.clone() } else { String::new() },
        fix_content: content,
        fix_type,
        apply_blocked: fix_type != FixType::PromptAddition,
    }
}

/// A prompt with something added: the old text without trailing space, an empty line, the addition.
#[must_use]
pub fn amended(old: &str, addition: &str) -> String {
    format!("{}\n\n{addition}", old.trim_end())
}

/// What came of a fix, by the runs after it and how often the failure was seen in them.
#[must_use]
pub fn verdict(runs_after: i64, recurrences: i64) -> &'static str {
    match (runs_after, recurrences) {
        (_, again) if again > 0 => "still_occurring",
        (runs, _) if runs >= 10 => "verified",
        (runs, _) if runs >= 5 => "likely_fixed",
        _ => "insufficient_data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fix_is_verified_by_ten_runs_without_the_failure() {
        let cases = [(0, 0, "insufficient_data"), (4, 0, "insufficient_data"), (5, 0, "likely_fixed"), (10, 0, "verified")];
        for (runs, again, expected) in cases {
            assert_eq!(verdict(runs, again), expected);
        }
        assert_eq!([verdict(1, 1), verdict(50, 1)], ["still_occurring"; 2]);
    }

    #[test]
    fn what_follows_from_an_injection_is_never_applied() {
        assert_eq!(FixType::of("PROMPT_INJECTION_SIGNAL"), FixType::NoAutoApply);
        assert_eq!(FixType::of("TOOL_LOOP"), FixType::PromptAddition);
        assert_eq!(FixType::of("SLOW_STEP"), FixType::CodeChange);
    }
}
