//! Few ranges instead of many windows: pure.

/// The ranges (`low` included, `high` not) that cover `windows`: apart from each other, oldest first, at most `most`.
///
/// Windows that overlap or touch become one, and so do neighbours whose gap is no longer than either of them: reading
/// along the gap costs at most what the windows themselves do, another request costs a round trip. Where windows are
/// dense, one range is left. What is still too much loses its narrowest gaps.
pub(super) fn merged(mut windows: Vec<(i64, i64)>, most: usize) -> Vec<(i64, i64)> {
    windows.retain(|(low, high)| low < high);
    windows.sort_unstable();
    let mut ranges: Vec<(i64, i64)> = Vec::new();
    for (low, high) in windows {
        match ranges.last_mut() {
            Some(last) if low <= last.1 => last.1 = last.1.max(high),
            _ => ranges.push((low, high)),
        }
    }
    let length = |(low, high): (i64, i64)| high.saturating_sub(low);
    let mut apart: Vec<(i64, i64)> = Vec::new();
    for range in ranges {
        match apart.last_mut() {
            Some(last) if length((last.1, range.0)) <= length(*last).min(length(range)) => last.1 = range.1,
            _ => apart.push(range),
        }
    }
    if apart.len() > most {
        let mut gaps: Vec<(i64, usize)> =
            apart.windows(2).enumerate().map(|(i, pair)| (length((pair[0].1, pair[1].0)), i)).collect();
        gaps.sort_unstable_by(|a, b| b.cmp(a));
        gaps.truncate(most.saturating_sub(1));
        let kept: std::collections::HashSet<usize> = gaps.into_iter().map(|(_, after)| after).collect();
        let mut few: Vec<(i64, i64)> = Vec::with_capacity(most);
        for (i, range) in apart.into_iter().enumerate() {
            match few.last_mut() {
                Some(last) if !i.checked_sub(1).is_some_and(|before| kept.contains(&before)) => last.1 = range.1,
                _ => few.push(range),
            }
        }
        return few;
    }
    apart
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sparse_windows_stay_apart_and_dense_ones_are_one_range() {
        assert_eq!(merged(vec![(100, 110), (0, 10), (200, 210)], 32), [(0, 10), (100, 110), (200, 210)]);
        assert_eq!(merged(vec![(0, 10), (5, 15), (15, 20)], 32), [(0, 20)]);
        assert_eq!(merged(vec![(0, 10), (18, 28), (35, 45)], 32), [(0, 45)], "gaps shorter than the windows");
        assert_eq!(merged(vec![(0, 10), (30, 31)], 32), [(0, 10), (30, 31)]);
        assert_eq!(merged(vec![(5, 5), (9, 3)], 32), []);
    }

    #[test]
    fn too_many_ranges_lose_their_narrowest_gaps() {
        assert_eq!(merged(vec![(0, 1), (10, 11), (14, 15), (30, 31)], 3), [(0, 1), (10, 15), (30, 31)]);
        assert_eq!(merged(vec![(0, 1), (10, 11), (14, 15), (30, 31)], 1), [(0, 31)]);
    }

    proptest! {
        #[test]
        fn every_window_is_covered_and_ranges_never_overlap(
            windows in proptest::collection::vec((-1000i64..1000, 0i64..50), 0..60), most in 1usize..40,
        ) {
            let windows: Vec<(i64, i64)> = windows.into_iter().map(|(low, length)| (low, low + length)).collect();
            let ranges = merged(windows.clone(), most);
            prop_assert!(ranges.len() <= most);
            prop_assert!(ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
            for (low, high) in windows.into_iter().filter(|(low, high)| low < high) {
                prop_assert!(ranges.iter().any(|range| range.0 <= low && high <= range.1));
            }
        }
    }
}
