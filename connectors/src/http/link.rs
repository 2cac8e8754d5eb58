//! The `Link` header (RFC 8288), as far as paging uses it.

use reqwest::header::{HeaderMap, LINK};
use url::Url;

/// Where a listing goes on, as its answer's `Link` header says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Links {
    /// The next page; `None` when there is none (or, where results are flagged, when it would be empty).
    pub(crate) next: Option<Url>,
    /// The last page.
    pub(crate) last: Option<Url>,
}

impl Links {
    /// Reads the links of an answer to a request for `base`. With `check_results` a link without `results="true"`
    /// does not count: Sentry always sends one.
    pub(crate) fn read(headers: &HeaderMap, base: &Url, check_results: bool) -> Self {
        let mut links = Self::default();
        for value in headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()) {
            for (target, attributes) in entries(value) {
                let attribute =
                    |name: &str| attributes.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
                let Some(relation) = attribute("rel") else { continue };
                if check_results && attribute("results") != Some("true") {
                    continue;
                }
                let Ok(url) = base.join(target) else { continue };
                for relation in relation.split_ascii_whitespace() {
                    match relation.to_ascii_lowercase().as_str() {
                        "next" => links.next = Some(url.clone()),
                        "last" => links.last = Some(url.clone()),
                        _ => {}
                    }
                }
            }
        }
        links
    }

    /// The number of the last page, when its URL has it in `param`.
    pub(crate) fn last_page(&self, param: &str) -> Option<u64> {
        let last = self.last.as_ref()?;
        last.query_pairs().find(|(name, _)| name == param)?.1.parse().ok()
    }
}

/// `<target>; name="value"; …, <target>; …`, leniently.
fn entries(value: &str) -> Vec<(&str, Vec<(String, String)>)> {
    let mut found = Vec::new();
    let mut rest = value;
    while let Some((_, after)) = rest.split_once('<') {
        let Some((target, after)) = after.split_once('>') else { break };
        let mut attributes = Vec::new();
        let mut tail = after;
        loop {
            tail = tail.trim_start();
            let Some(after) = tail.strip_prefix(';') else { break };
            let after = after.trim_start();
            let name_end = after.find(['=', ';', ',']).unwrap_or(after.len());
            let (name, after) = after.split_at(name_end);
            let Some(after) = after.strip_prefix('=') else {
                tail = after;
                continue;
            };
            let (text, after) = match after.trim_start().strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_at(after.find([';', ',']).unwrap_or(after.len())),
            };
            attributes.push((name.trim().to_owned(), text.trim().to_owned()));
            tail = after;
        }
        found.push((target, attributes));
        rest = tail;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str, check: bool) -> Links {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, value.parse().unwrap());
        Links::read(&headers, &Url::parse("https://h/a?page=1").unwrap(), check)
    }

    #[test]
    fn github_names_the_next_and_the_last_page() {
        let links =
            read(r#"<https://h/r/1/c?page=2>; rel="next", <https://h/r/1/c?per_page=9&page=34>; rel="last""#, false);
        assert_eq!(links.next.as_ref().map(Url::as_str), Some("https://h/r/1/c?page=2"));
        assert_eq!(links.last_page("page"), Some(34));
    }

    #[test]
    fn sentry_sends_a_next_link_even_after_the_last_page() {
        let value = |results: &str| {
            format!(
                r#"<https://h/i/?cursor=0:0:1>; rel="previous"; results="false"; cursor="0:0:1", <https://h/i/?cursor=0:100:0>; rel="next"; results="{results}"; cursor="0:100:0""#
            )
        };
        assert_eq!(read(&value("true"), true).next.map(String::from).as_deref(), Some("https://h/i/?cursor=0:100:0"));
        assert_eq!(read(&value("false"), true).next, None);
    }

    #[test]
    fn a_relative_link_is_below_the_request() {
        assert_eq!(read("</b?page=2>; rel=next", false).next.map(String::from).as_deref(), Some("https://h/b?page=2"));
    }

    #[test]
    fn garbage_is_no_link() {
        for value in ["", "<", "<>;", "<x", "rel=next", ";;;", "<a>; rel", "<a>; rel=\"next"] {
            let _ = read(value, false);
        }
        assert_eq!(read("rel=next", false), Links::default());
    }
}
