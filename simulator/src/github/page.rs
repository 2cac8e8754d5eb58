//! GitHub's paging: `page`/`per_page` and a Link header at `/repositories/{id}/…` of the same host.

use crate::http::{Params, Reply};

/// GitHub's largest page of a list.
const MAX: usize = 100;
const DEFAULT: usize = 30;

/// A page by number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    pub number: usize,
    pub size: usize,
}

impl Page {
    /// Reads `page` and `per_page`; like the real server, odd values fall back and large ones are cut.
    pub(crate) fn parse(query: &Params) -> Self {
        Self::parse_with(query, DEFAULT, MAX)
    }

    /// The same with another default and maximum (files of a commit: 300).
    pub(crate) fn parse_with(query: &Params, default: usize, max: usize) -> Self {
        let number = |name: &str| query.filled(name).and_then(|v| v.parse::<usize>().ok());
        Self {
            number: number("page").unwrap_or(1).max(1),
            size: number("per_page").filter(|n| *n > 0).unwrap_or(default).min(max),
        }
    }

    /// The part of `items` on this page.
    pub(crate) fn slice<'a, T>(&self, items: &'a [T]) -> &'a [T] {
        let start = (self.number - 1).saturating_mul(self.size).min(items.len());
        let end = start.saturating_add(self.size).min(items.len());
        items.get(start..end).unwrap_or_default()
    }

    /// Adds the Link header when there is more than one page.
    pub(crate) fn link(&self, reply: Reply, base: &str, query: &Params, total: usize) -> Reply {
        let last = total.div_ceil(self.size).max(1);
        let mut parts = Vec::new();
        let mut part = |rel: &str, page: usize| {
            let query = query.with(&[("page", &page.to_string())]);
            parts.push(format!(r#"<{base}?{query}>; rel="{rel}""#));
        };
        if self.number > 1 {
            part("prev", (self.number - 1).min(last));
        }
        if self.number < last {
            part("next", self.number + 1);
            part("last", last);
        }
        if self.number > 1 {
            part("first", 1);
        }
        if parts.is_empty() { reply } else { reply.header("link", parts.join(", ")) }
    }
}
