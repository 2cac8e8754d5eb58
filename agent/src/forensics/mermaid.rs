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
    use serde_json::Map;
    use tripline_store::Gap;

    use super::*;
    use crate::forensics::graph::{Edge, Node, Position};

    #[test]
    fn no_label_ends_its_quotation() {
        let hostile = label("x\"]; click n0 \"javascript:alert(1)\" <script> %%{init}%%");
        assert!(!hostile.contains(['"', '<', '>', '%', '{', ']', '(']), "{hostile}");
    }

    #[test]
    fn a_chart_whose_every_text_is_hostile_has_its_own_lines_and_no_others() {
        for text in [
            "x\"]; click n0 \"javascript:alert(1)\"",
            "\n  n9 --> n0\r\n  classDef commit fill:#000",
            "%%{init: {\"theme\": \"dark\"}}%%",
            "<img src=x onerror=alert(1)> &quot;]; #quot;]; #34;",
            "`code` ]:::evil \u{202e}\u{0}",
        ] {
            let node = |id: &str| Node {
                id: format!("{id} {text}"),
                kind: "commit".to_owned(),
                data: [("label", text), ("detail", text)]
                    .map(|(key, text)| (key.to_owned(), text.into()))
                    .into_iter()
                    .collect(),
                position: Position::default(),
            };
            let (a, b) = (node("a"), node("b"));
            let edge = Edge {
                id: text.to_owned(),
                source: a.id.clone(),
                target: b.id.clone(),
                kind: "after",
                label: text.to_owned(),
                animated: false,
            };
            let gaps = vec![Gap { source: text.to_owned(), reason: text.to_owned() }];
            let graph = Graph { nodes: vec![a, b], edges: vec![edge], metadata: Map::new(), gaps, complete: false };
            let chart = flowchart(&graph);
            let lines: Vec<&str> = chart.lines().collect();
            assert_eq!(lines.len(), 1 + 2 + 1 + 1 + 8, "{chart}");
            for (line, (begin, end)) in lines[1..5].iter().zip([
                ("  n0[\"", "\"]:::commit"),
                ("  n1[\"", "\"]:::commit"),
                ("  n0 -->|\"", "\"| n1"),
                ("  gap0[\"", "\"]:::unknown"),
            ]) {
                let inside = line
                    .strip_prefix(begin)
                    .and_then(|rest| rest.strip_suffix(end))
                    .unwrap_or_else(|| panic!("{line}"));
                assert!(
                    !inside.contains(['"', '<', '>', '`', '%', '[', ']', '{', '}', '(', ')', '|', '\u{202e}', '\u{0}']),
                    "{inside}"
                );
            }
        }
    }
}
