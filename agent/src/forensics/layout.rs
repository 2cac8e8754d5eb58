//! Where nodes are drawn.

use std::collections::BTreeMap;

use super::graph::{Edge, Node, Position};

/// Each kind in a column of its own, in the order of its rows.
pub(super) fn in_columns(nodes: &mut [Node]) {
    let mut next: BTreeMap<String, f64> = BTreeMap::new();
    for node in nodes {
        let x = match node.kind.as_str() {
            "commit" => 0.0,
            "error" => 240.0,
            "trace" => 480.0,
            "message" => 720.0,
            _ => 600.0,
        };
        let y = next.entry(node.kind.clone()).or_default();
        node.position = Position { x, y: *y };
        *y += 130.0;
    }
}

/// Downwards by depth. A cycle has no depth: what is in one, or below it, is drawn below everything else.
pub(super) fn by_depth(nodes: &mut [Node], edges: &[Edge]) {
    let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut waits: BTreeMap<String, usize> = nodes.iter().map(|node| (node.id.clone(), 0)).collect();
    for edge in edges {
        children.entry(&edge.source).or_default().push(&edge.target);
        *waits.entry(edge.target.clone()).or_default() += 1;
    }
    let mut depth: BTreeMap<String, usize> = BTreeMap::new();
    let mut ready: Vec<String> = waits.iter().filter(|(_, n)| **n == 0).map(|(id, _)| id.clone()).collect();
    ready.iter().for_each(|id| {
        depth.insert(id.clone(), 0);
    });
    while let Some(id) = ready.pop() {
        let below = depth.get(&id).copied().unwrap_or_default() + 1;
        for child in children.get(id.as_str()).into_iter().flatten() {
            let deepest = depth.entry((*child).to_owned()).or_default();
            *deepest = (*deepest).max(below);
            if let Some(left) = waits.get_mut(*child) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.push((*child).to_owned());
                }
            }
        }
    }
    let lowest = depth.values().max().copied().unwrap_or_default() + 1;
    let mut taken: BTreeMap<usize, f64> = BTreeMap::new();
    for node in nodes {
        let in_cycle = waits.get(&node.id).is_some_and(|left| *left > 0);
        let row = if in_cycle { lowest } else { depth.get(&node.id).copied().unwrap_or_default() };
        let x = taken.entry(row).or_default();
        node.position = Position { x: *x, y: row as f64 * 130.0 };
        *x += 200.0;
    }
}
