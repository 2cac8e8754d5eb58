//! Items in the order of their time, so that a window of a large collection is two binary searches.
//!
//! Owns: order and ranges, and that what came late is not there before. Does not own: what an item's time is (`Timed`).

use std::sync::Arc;

use crate::item::Item;
use crate::time::Micros;

/// Something with a time and a stable order among equals.
pub(crate) trait Timed {
    /// The time, then two texts that break ties.
    fn order(&self) -> (Micros, &str, &str);

    /// When the vendor came to know of it; its own time, unless it came late.
    fn arrival(&self) -> Micros {
        self.order().0
    }

    /// Whether the vendor knows of it at the horizon.
    fn is_here(&self, horizon: Option<Micros>) -> bool {
        horizon.is_none_or(|now| self.arrival() <= now)
    }
}

/// When an item whose own time is `at` arrives, by the `_arrives_at` among its parents: never before its time.
pub(crate) fn arrival(parents: &Item, at: Micros) -> Micros {
    parents.time("_arrives_at").map_or(at, |arrives| arrives.max(at))
}

/// Items without a readable time count as older than everything: always visible, listed last.
pub(crate) const TIMELESS: Micros = i64::MIN;

/// Shared items, oldest first.
#[derive(Debug)]
pub(crate) struct Timeline<T> {
    items: Vec<Arc<T>>,
}

impl<T> Default for Timeline<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

impl<T: Timed> Timeline<T> {
    /// Sorts items by time.
    pub(crate) fn new(items: impl IntoIterator<Item = T>) -> Self {
        let mut items: Vec<_> = items.into_iter().map(Arc::new).collect();
        items.sort_by(|a, b| a.order().cmp(&b.order()));
        Self { items }
    }

    /// All items, oldest first.
    pub(crate) fn all(&self) -> &[Arc<T>] {
        &self.items
    }

    /// The items no later than `horizon`.
    pub(crate) fn visible(&self, horizon: Option<Micros>) -> &[Arc<T>] {
        self.between(None, None, horizon)
    }

    /// The items with `from <= time < to`, and `time <= horizon`.
    pub(crate) fn between(&self, from: Option<Micros>, to: Option<Micros>, horizon: Option<Micros>) -> &[Arc<T>] {
        let start = from.map_or(0, |from| self.items.partition_point(|i| i.order().0 < from));
        let before_to = to.map_or(self.items.len(), |to| self.items.partition_point(|i| i.order().0 < to));
        let visible = horizon.map_or(self.items.len(), |now| self.items.partition_point(|i| i.order().0 <= now));
        self.items.get(start..before_to.min(visible)).unwrap_or_default()
    }

    /// Puts an item in its place.
    pub(crate) fn insert(&mut self, item: Arc<T>) {
        let at = self.items.partition_point(|other| other.order() <= item.order());
        self.items.insert(at, item);
    }

    /// Removes the item that is `item` itself.
    pub(crate) fn remove(&mut self, item: &Arc<T>) {
        if let Some(at) = self.items.iter().position(|other| Arc::ptr_eq(other, item)) {
            self.items.remove(at);
        }
    }

    /// Puts `new` in the place of `old`.
    pub(crate) fn replace(&mut self, old: &Arc<T>, new: Arc<T>) {
        self.remove(old);
        self.insert(new);
    }
}

/// One page of the items of a slice, newest first, that `keep` accepts, and how many there are in all.
pub(crate) fn newest_page<T>(
    items: &[Arc<T>],
    skip: usize,
    limit: usize,
    keep: impl Fn(&T) -> bool,
) -> (Vec<Arc<T>>, usize) {
    let mut page = Vec::with_capacity(limit.min(items.len()));
    let mut total = 0;
    for item in items.iter().rev() {
        if keep(item) {
            if total >= skip && page.len() < limit {
                page.push(Arc::clone(item));
            }
            total += 1;
        }
    }
    (page, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct At(Micros, &'static str);

    impl Timed for At {
        fn order(&self) -> (Micros, &str, &str) {
            (self.0, self.1, "")
        }
    }

    #[test]
    fn a_window_holds_its_start_and_not_its_end_nor_anything_after_now() {
        let line = Timeline::new([At(3, "c"), At(1, "a"), At(2, "b"), At(4, "d")]);
        let names = |items: &[Arc<At>]| items.iter().map(|i| i.1).collect::<String>();
        assert_eq!(names(line.between(Some(2), Some(4), None)), "bc");
        assert_eq!(names(line.between(Some(2), None, Some(2))), "b");
        assert_eq!(names(line.between(Some(5), Some(1), None)), "");
    }

    #[test]
    fn a_page_is_counted_from_the_newest() {
        let line = Timeline::new((0..10).map(|n| At(n, "")));
        let (page, total) = newest_page(line.all(), 2, 3, |item| item.0 % 2 == 0);
        assert_eq!(page.iter().map(|i| i.0).collect::<Vec<_>>(), [4, 2, 0]);
        assert_eq!(total, 5);
    }
}
