//! A graph as Mermaid, for documents.
//!
//! Must hold: whatever a label says, it is a label: nothing in it ends the quotation, begins a directive or becomes HTML.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::Graph;
use crate::messages::text::{cut, one_line};

/// Characters of a label that are shown.
const LABEL: usize = 80;

fn label(text: &str) -> String {
    let mut out = String::new();
    for c in cut(&one_line(text), LABEL).chars() {
        // Mermaid writes characters as entities: `#35;`.
        if c.is_alphanumeric() || matches!(c, ' ' | '.' | ',' | ':' | '/' | '_' | '-' | '$' | '+' | '=' | '…') {
            out.push(c);
        } else {
            let _ = write!(out, "#{};", u32::from(c));
        }
    }
    if out.is_empty() { "-".to_owned() } else { out }
}

/// The graph as a Mermaid flowchart.
#[must_use]
pub fn flowchart(graph: &Graph) -> String {
    let mut out = String::from("flowchart LR\n");
    let names: BTreeMap<&str, String> =
        graph.nodes.iter().enumerate().map(|(index, node)| (node.id.as_str(), format!("n{index}"))).collect();
    for node in &graph.nodes {
        let text = |key: &str| node.data.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
        let shown = format!("{}: {} {}", node.kind, text("label"), text("detail"));
        if let Some(name) = names.get(node.id.as_str()) {
            let _ = writeln!(out, "  {name}[\"{}\"]:::{}", label(&shown), node.kind);
        }
    }
    for edge in &graph.edges {
        if let (Some(source), Some(target)) = (names.get(edge.source.as_str()), names.get(edge.target.as_str())) {
            let _ = writeln!(out, "  {source} -->|\"{}\"| {target}", label(&edge.label));
        }
    }
    for (index, gap) in graph.gaps.iter().enumerate() {
        let _ = writeln!(out, "  gap{index}[\"{}\"]:::unknown", label(&format!("{} is unknown", gap.source)));
    }
    for (kind, colour) in [
        ("commit", "#4f46e5"),
        ("error", "#ef4444"),
        ("trace", "#f59e0b"),
        ("message", "#14b8a6"),
        ("generation", "#8b5cf6"),
        ("span", "#0ea5e9"),
        ("event", "#94a3b8"),
        ("unknown", "#64748b"),
    ] {
        let _ = writeln!(out, "  classDef {kind} fill:{colour},color:#fff");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_ends_its_quotation() {
        let hostile = label("x\"]; click n0 \"javascript:alert(1)\" <script> %%{init}%%");
        assert!(!hostile.contains(['"', '<', '>', '%', '{', ']', '(']), "{hostile}");
    }
}
