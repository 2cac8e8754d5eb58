//! The collected side of an interval join: its rows grouped by key and sorted by point.

use std::collections::HashMap;

use arrow::row::{OwnedRow, Row};

/// Positions of rows, grouped by equality key, each group sorted by point.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Row numbers of the collected batch.
    rows: Vec<u32>,
    /// Their points, in the same order.
    points: Vec<i64>,
    groups: Vec<Group>,
    by_key: HashMap<OwnedRow, usize>,
}

/// One group's slice of the index, with a grid that finds a point's neighbourhood in one step.
#[derive(Debug)]
struct Group {
    start: usize,
    end: usize,
    first: i64,
    /// Cell of a point: `(point - first) >> shift`.
    shift: u32,
    /// Start of each cell, and the end of the last one.
    grid: Vec<u32>,
}

/// Points per grid cell, on average.
const CELL: usize = 8;

impl Index {
    /// An index without equality keys over `points[i]` of row `i`; rows without a point never match.
    pub(super) fn of_points(points: impl Iterator<Item = Option<i64>>) -> Self {
        let mut pairs: Vec<(i64, u32)> = Vec::new();
        for (row, point) in points.enumerate() {
            if let (Some(point), Ok(row)) = (point, u32::try_from(row)) {
                pairs.push((point, row));
            }
        }
        let mut index = Self::default();
        index.push_group(pairs);
        index
    }

    /// An index grouped by key; rows without a key or a point never match.
    pub(super) fn of_keys<'a>(entries: impl Iterator<Item = (Option<Row<'a>>, Option<i64>)>) -> Self {
        let mut index = Self::default();
        let mut groups: Vec<Vec<(i64, u32)>> = Vec::new();
        let mut positions: HashMap<Row<'a>, usize> = HashMap::new();
        for (row, (key, point)) in entries.enumerate() {
            if let (Some(key), Some(point), Ok(row)) = (key, point, u32::try_from(row)) {
                let group = *positions.entry(key).or_insert_with(|| {
                    groups.push(Vec::new());
                    groups.len() - 1
                });
                if let Some(pairs) = groups.get_mut(group) {
                    pairs.push((point, row));
                }
            }
        }
        index.by_key = positions.into_iter().map(|(key, group)| (key.owned(), group)).collect();
        for pairs in groups {
            index.push_group(pairs);
        }
        index
    }

    fn push_group(&mut self, mut pairs: Vec<(i64, u32)>) {
        // Listings usually come sorted one way or the other.
        if pairs.is_sorted_by(|a, b| a.0 >= b.0) {
            pairs.reverse();
        }
        if !pairs.is_sorted() {
            pairs.sort_unstable();
        }
        let start = self.points.len();
        self.points.extend(pairs.iter().map(|pair| pair.0));
        self.rows.extend(pairs.iter().map(|pair| pair.1));
        let end = self.points.len();
        self.groups.push(Group::new(start, end, &self.points));
    }

    /// The group of a key, `None` when no row has it.
    pub(super) fn group(&self, key: &OwnedRow) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// Row numbers of `group` whose point is in `[low, high)`.
    pub(super) fn matches(&self, group: usize, low: i64, high: i64) -> &[u32] {
        let Some(group) = self.groups.get(group) else { return &[] };
        if low >= high {
            return &[];
        }
        let from = group.lower_bound(low, &self.points);
        let to = group.lower_bound(high, &self.points).max(from);
        self.rows.get(from..to).unwrap_or(&[])
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.rows.len() * 12 + self.groups.iter().map(|g| g.grid.len() * 4 + 64).sum::<usize>() + self.by_key.len() * 64
    }
}

impl Group {
    fn new(start: usize, end: usize, points: &[i64]) -> Self {
        let slice = points.get(start..end).unwrap_or(&[]);
        let (first, last) = (slice.first().copied().unwrap_or(0), slice.last().copied().unwrap_or(0));
        let span = last.wrapping_sub(first) as u64;
        let cells = (slice.len() / CELL).max(1) as u64;
        let shift = (span / cells).checked_ilog2().map_or(0, |bits| (bits + 1).min(63));
        let count = usize::try_from(span >> shift).unwrap_or(0) + 1;
        let mut grid = Vec::with_capacity(count + 1);
        let mut position = 0usize;
        for cell in 0..count as u64 {
            while slice.get(position).is_some_and(|p| (p.wrapping_sub(first) as u64) >> shift < cell) {
                position += 1;
            }
            grid.push(u32::try_from(position).unwrap_or(u32::MAX));
        }
        grid.push(u32::try_from(slice.len()).unwrap_or(u32::MAX));
        Self { start, end, first, shift, grid }
    }

    /// Position of the first point `>= target`.
    fn lower_bound(&self, target: i64, points: &[i64]) -> usize {
        if target <= self.first {
            return self.start;
        }
        let cell = usize::try_from((target.wrapping_sub(self.first) as u64) >> self.shift).unwrap_or(usize::MAX);
        let (Some(&from), Some(&to)) = (self.grid.get(cell), self.grid.get(cell.saturating_add(1))) else {
            return self.end;
        };
        let (from, to) = (self.start + from as usize, self.start + to as usize);
        points.get(from..to).map_or(self.end, |cell| from + cell.partition_point(|point| *point < target))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn matches_are_exactly_the_rows_inside_the_window(
            points in proptest::collection::vec(proptest::option::of(-1000i64..1000), 0..200),
            windows in proptest::collection::vec((-1200i64..1200, -50i64..300), 1..50),
        ) {
            let index = Index::of_points(points.iter().copied());
            for (low, width) in windows {
                let mut found = index.matches(0, low, low + width).to_vec();
                found.sort_unstable();
                let wanted: Vec<u32> = points.iter().enumerate()
                    .filter(|(_, p)| p.is_some_and(|p| p >= low && p < low + width))
                    .map(|(row, _)| row as u32)
                    .collect();
                prop_assert_eq!(found, wanted);
            }
        }

        #[test]
        fn extreme_points_and_windows_do_not_overflow(points in proptest::collection::vec(any::<i64>(), 0..50), low: i64, high: i64) {
            let index = Index::of_points(points.iter().map(|p| Some(*p)));
            let wanted = points.iter().filter(|p| **p >= low && **p < high).count();
            prop_assert_eq!(index.matches(0, low, high).len(), wanted);
        }
    }
}
