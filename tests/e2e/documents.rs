//! The documentation and the surface are one: what only the whole product shows (each crate checks its own pages).

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::{Outcome, Site, Vendors};
use crate::seeded;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

async fn help(site: &Site, command: &[String]) -> String {
    let args: Vec<&str> = command.iter().map(String::as_str).chain(["--help"]).collect();
    let outcome: Outcome = site.run(&args).await;
    assert!(outcome.status.success(), "{outcome:?}");
    outcome.stdout
}

/// The names below a heading of a help text.
fn listed<'h>(help: &'h str, heading: &str) -> impl Iterator<Item = &'h str> {
    let below = help.lines().skip_while(move |line| !line.starts_with(heading)).skip(1);
    below.take_while(|line| line.starts_with(' ') || line.is_empty()).filter_map(|line| line.split_whitespace().next())
}

#[tokio::test]
async fn every_command_and_flag_is_on_the_page_of_the_command_line() {
    let scene = seeded::cascade().await;
    let page = page("docs/cli.md");
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    let mut seen = 0;
    while let Some(command) = commands.pop() {
        let help = help(&scene.site, &command).await;
        for name in listed(&help, "Commands:").filter(|name| *name != "help") {
            assert!(page.contains(name), "docs/cli.md lacks the command {command:?} {name}");
            commands.push(command.iter().cloned().chain([name.to_owned()]).collect());
        }
        let row = command.first().map(|name| {
            let named = |line: &&str| line.starts_with(&format!("| `{name} ")) || line.starts_with(&format!("| `{name}`"));
            page.lines().find(named).unwrap_or_else(|| panic!("docs/cli.md has no row for {name}"))
        });
        let flags = help.split_whitespace().map(|word| word.trim_matches(|c: char| "[]<>,.…=`".contains(c)));
        for flag in flags.filter(|word| word.starts_with("--") && !["--help", "--version"].contains(word)) {
            let row = row.unwrap_or_else(|| panic!("{flag} belongs to no command"));
            // Every listing can be had as JSON; the page says so once.
            let told_once = flag == "--json" && page.contains("`list` takes `--json`");
            let flag = flag.split('=').next().unwrap();
            assert!(row.contains(flag) || told_once, "docs/cli.md: the row of {command:?} lacks {flag}");
            seen += 1;
        }
    }
    assert!(seen > 20, "the help texts were read: {seen}");
}

#[tokio::test]
async fn every_table_has_a_page_and_every_page_a_table() {
    let scene = seeded::cascade().await;
    let query = "SELECT table_schema || '.' || table_name AS name FROM information_schema.tables \
                 WHERE table_schema NOT IN ('information_schema', 'tripline')";
    let rows = scene.site.sql(query).await;
    let mut tables: Vec<String> = rows.iter().map(|row| format!("{}.md", row["name"].as_str().unwrap())).collect();
    tables.sort();
    let pages = std::fs::read_dir(root().join("docs/tables")).unwrap();
    let mut pages: Vec<String> = pages.map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort();
    assert!(tables.len() > 25, "{tables:?}");
    assert_eq!(tables, pages);
}

#[tokio::test]
async fn every_detector_has_its_section() {
    let scene = seeded::cascade().await;
    let page = page("docs/detectors.md");
    let detectors = scene.site.run(&["detectors", "list", "--json"]).await.json();
    let names: Vec<&Value> = detectors.as_array().unwrap().iter().map(|detector| &detector["name"]).collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        let name = name.as_str().unwrap();
        assert!(page.contains(&format!("## {name}\n")), "docs/detectors.md has no section '{name}'");
        let query = page_of_query(name);
        for parameter in query.lines().filter_map(|line| line.strip_prefix("-- param: ")) {
            let setting = parameter.split_once(" = ").unwrap().1;
            let section = page.split(&format!("## {name}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
            assert!(section.contains(&format!("`{setting}`")), "docs/detectors.md: {name} lacks its setting {setting}");
        }
    }
}

fn page_of_query(detector: &str) -> String {
    page(&format!("queries/detectors/{detector}.sql"))
}

#[test]
fn every_link_within_the_documentation_leads_somewhere() {
    let mut pages: Vec<PathBuf> = vec![root().join("README.md")];
    for folder in ["docs", "docs/tables"] {
        let entries = std::fs::read_dir(root().join(folder)).unwrap();
        pages.extend(entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "md")));
    }
    for path in pages.iter().filter(|path| path.exists()) {
        let text = std::fs::read_to_string(path).unwrap();
        for event in pulldown_cmark::Parser::new(&text) {
            let pulldown_cmark::Event::Start(pulldown_cmark::Tag::Link { dest_url, .. }) = event else { continue };
            let target = dest_url.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                let file = path.parent().unwrap().join(target);
                assert!(file.exists(), "{}: the link to {target} leads nowhere", path.display());
            }
        }
    }
}

#[tokio::test]
async fn doctor_says_for_each_source_whether_it_answers() {
    let scene = seeded::cascade().await;
    let well = scene.site.run(&["doctor"]).await;
    assert_eq!(well.code(), 0, "{well:?}");
    let vendors: &Vendors = &scene.vendors;
    vendors.fault("sentry", "", "status:401").await;
    let ill = scene.site.run(&["doctor"]).await;
    assert_ne!(ill.code(), 0, "{ill:?}");
    let said = format!("{}{}", ill.stdout, ill.stderr);
    assert!(said.lines().any(|line| line.contains("sentry") && line.contains("401")), "{said}");
}
