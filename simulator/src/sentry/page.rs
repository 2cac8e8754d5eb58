//! Sentry's paging: an opaque cursor and a Link header that always names both neighbours.

use crate::http::{Call, Params, Reply};

/// Sentry's largest page.
pub(crate) const MAX: usize = 100;

/// A page: how many, from where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page {
    offset: usize,
    limit: usize,
}

impl Page {
    /// Reads `cursor` and the named limit parameter.
    pub(crate) fn parse(query: &Params, limit_name: &str) -> Result<Self, String> {
        let limit = match query.filled(limit_name).map(str::parse::<i64>) {
            None => MAX,
            Some(Ok(limit)) if limit < 1 => return Err(format!("Invalid {limit_name} parameter.")),
            Some(Ok(limit)) if limit > MAX as i64 => {
                return Err(format!("Invalid {limit_name} parameter. Must be between 1 and {MAX}."));
            }
            Some(Ok(limit)) => usize::try_from(limit).unwrap_or(MAX),
            Some(Err(_)) => return Err(format!("Invalid {limit_name} parameter.")),
        };
        let offset = match query.filled("cursor") {
            None => 0,
            Some(cursor) => offset_of(cursor).ok_or("Invalid cursor parameter.")?,
        };
        Ok(Self { offset, limit })
    }

    /// The part of `items` on this page.
    pub(crate) fn slice<'a, T>(&self, items: &'a [T]) -> &'a [T] {
        let start = self.offset.min(items.len());
        let end = start.saturating_add(self.limit).min(items.len());
        items.get(start..end).unwrap_or_default()
    }

    /// Adds the Link header; `rel="next"` is there even when there is nothing more.
    pub(crate) fn link(&self, reply: Reply, call: &Call, total: usize) -> Reply {
        let part = |rel: &str, offset: usize, back: u8, results: bool| {
            let cursor = format!("0:{offset}:{back}");
            let query = call.query.with(&[("cursor", &cursor)]);
            format!(
                r#"<{}/sentry{}?{query}>; rel="{rel}"; results="{results}"; cursor="{cursor}""#,
                call.origin, call.path
            )
        };
        let next = self.offset.saturating_add(self.limit);
        let link = format!(
            "{}, {}",
            part("previous", self.offset.saturating_sub(self.limit), 1, self.offset > 0),
            part("next", next, 0, next < total)
        );
        reply.header("link", link)
    }
}

fn offset_of(cursor: &str) -> Option<usize> {
    let mut parts = cursor.split(':');
    let (value, offset, back) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || value.parse::<f64>().is_err() || back.parse::<u8>().is_err() {
        return None;
    }
    offset.parse().ok()
}
