//! Files as they are compared: relative to the project, with `/`, without detours.

use std::sync::LazyLock;

use regex::Regex;
use tripline_store::sessions::EventFact;

/// Paths that are read out of one error text at most.
const MAX_PATHS: usize = 8;

/// Something that looks like a file: a path with a folder, or a name with an extension, perhaps with line and column.
static PATH: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:[A-Za-z]:)?(?:[\w.@+~-]*[\\/])+[\w.@+~-]+|\b[\w+-]+\.[A-Za-z][A-Za-z0-9]{0,5}\b").ok()
});

/// A path in the form in which two are compared. `None` for one that names nothing.
#[must_use]
pub fn normalised(path: &str, project_root: Option<&str>) -> Option<String> {
    let path = slashed(path);
    let root = project_root.map(|root| slashed(root).trim_end_matches('/').to_owned()).filter(|root| !root.is_empty());
    let inside = root.as_deref().and_then(|root| path.strip_prefix(root)?.strip_prefix('/'));
    let path = inside.unwrap_or(&path);
    let is_absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if is_absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (joined.is_empty(), is_absolute) {
        (true, _) => None,
        (false, true) => Some(format!("/{joined}")),
        (false, false) => Some(joined),
    }
}

fn slashed(path: &str) -> String {
    path.trim().replace('\\', "/")
}

/// The files an event is about: its own, or, of an error without one, those its text names.
#[must_use]
pub fn files_of(event: &EventFact) -> Vec<String> {
    let root = event.project_root.as_deref();
    if let Some(path) = &event.file_path {
        return normalised(path, root).into_iter().collect();
    }
    let Some(text) = &event.error_text else { return Vec::new() };
    let mut files = Vec::new();
    for found in PATH.iter().flat_map(|pattern| pattern.find_iter(text)).take(MAX_PATHS) {
        if let Some(path) = normalised(found.as_str(), root)
            && !files.contains(&path)
        {
            files.push(path);
        }
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_file_has_one_form() {
        let cases = [
            ("src/a.py", None, Some("src/a.py")),
            ("./src/./a.py", None, Some("src/a.py")),
            ("src\\a.py", None, Some("src/a.py")),
            ("/home/ann/shop/src/a.py", Some("/home/ann/shop/"), Some("src/a.py")),
            (r"C:\work\shop\src\a.py", Some(r"C:\work\shop"), Some("src/a.py")),
            ("/home/ann/shopping/src/a.py", Some("/home/ann/shop"), Some("/home/ann/shopping/src/a.py")),
            ("src/../lib/a.py", None, Some("lib/a.py")),
            ("../a.py", None, Some("../a.py")),
            ("/../a.py", None, Some("/a.py")),
            ("./", None, None),
            ("", Some("/"), None),
        ];
        for (path, root, expected) in cases {
            assert_eq!(normalised(path, root).as_deref(), expected, "{path}");
        }
        assert!(PATH.is_some());
    }

    #[test]
    fn files_are_found_in_the_text_of_an_error() {
        let pattern = PATH.as_ref().unwrap();
        let text = r#"File "/srv/app/src/a.py", line 3: at src/b.rs:10:5 and C:\x\c.ts(4) in main.go"#;
        let found: Vec<&str> = pattern.find_iter(text).map(|found| found.as_str()).collect();
        assert_eq!(found, ["/srv/app/src/a.py", "src/b.rs", r"C:\x\c.ts", "main.go"]);
    }
}
