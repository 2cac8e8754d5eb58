//! The command line as people type it, and as the documentation has it.

use std::path::{Path, PathBuf};

use clap::CommandFactory;
use pulldown_cmark::{Event, Parser as Markdown, Tag, TagEnd};

use super::*;

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn times_are_read_in_the_usual_forms_as_utc() {
    let noon: DateTime<Utc> = "2026-01-31T12:00:00Z".parse().unwrap();
    for text in ["2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", "2026-01-31T12:00", "2026-01-31 12:00:00"] {
        assert_eq!(time(text), Ok(noon), "{text}");
    }
    assert!(time("yesterday").is_err());
}

#[test]
fn a_parameter_may_hold_equals_signs_and_a_dollar_in_its_name() {
    assert_eq!(param("$a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
    assert!(param("=x").is_err() && param("x").is_err());
}

/// README.md and every page below docs/.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// The commands in a page's code blocks, as words: `tripline …`, also after `$` and after variables that are set for it.
fn commands(page: &str) -> Vec<Vec<String>> {
    let mut blocks = Vec::new();
    let mut inside = false;
    for event in Markdown::new(page) {
        match event {
            Event::Start(Tag::CodeBlock(_)) => {
                inside = true;
                blocks.push(String::new());
            }
            Event::End(TagEnd::CodeBlock) => inside = false,
            Event::Text(text) if inside => blocks.last_mut().unwrap().push_str(&text),
            _ => {}
        }
    }
    let mut found = Vec::new();
    for block in blocks {
        let mut started = String::new();
        for line in block.lines() {
            let line = line.trim();
            let typed = line.strip_prefix("$ ").unwrap_or(line);
            if started.is_empty() && !typed.split_whitespace().any(|word| word == "tripline") {
                continue;
            }
            // A list of commands has its explanations in a column of their own.
            let typed = match typed.split_once("   ") {
                Some((command, _)) if started.is_empty() && !command.contains(['"', '\'']) => command.trim_end(),
                _ => typed,
            };
            started.push_str(typed.strip_suffix('\\').unwrap_or(typed));
            started.push('\n');
            // A quote that is open goes on in the next line.
            let Some(words) = shlex::split(&started).filter(|_| !typed.ends_with('\\')) else { continue };
            started.clear();
            let is_variable = |word: &&String| {
                word.split_once('=').is_some_and(|(name, _)| name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
            };
            let mut words = words.iter().skip_while(is_variable);
            if words.next().is_some_and(|first| first == "tripline") {
                let ends = |word: &&String| !matches!(word.as_str(), "|" | ">" | "2>" | "&" | "&&" | ";");
                found.push(words.take_while(ends).cloned().collect());
            }
        }
        assert!(started.is_empty(), "an open quote: {started}");
    }
    found
}

#[test]
fn every_command_in_the_documentation_can_be_typed_as_it_stands() {
    let mut count = 0;
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        for words in commands(&page) {
            let typed = std::iter::once("tripline").chain(words.iter().map(String::as_str));
            if let Err(error) = Cli::try_parse_from(typed)
                && !matches!(error.kind(), clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion)
            {
                panic!("{}: tripline {}\n{error}", path.display(), words.join(" "));
            }
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} commands were found");
}

#[test]
fn every_command_and_flag_is_on_the_page_of_the_command_line() {
    let page = include_str!("../../../docs/cli.md");
    let mut open = vec![(String::new(), Cli::command())];
    while let Some((path, command)) = open.pop() {
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            let known = ["help", "version"].contains(&flag) || page.contains(&format!("--{flag}"));
            assert!(known, "docs/cli.md does not mention `{path} --{flag}`");
        }
        for sub in command.get_subcommands() {
            assert!(page.contains(sub.get_name()), "docs/cli.md does not mention `{path} {}`", sub.get_name());
            open.push((format!("{path} {}", sub.get_name()), sub.clone()));
        }
    }
}

#[test]
fn every_link_of_the_documentation_leads_to_a_file() {
    for path in pages() {
        let page = std::fs::read_to_string(&path).unwrap();
        for event in Markdown::new(&page) {
            let (Event::Start(Tag::Link { dest_url, .. }) | Event::Start(Tag::Image { dest_url, .. })) = event else {
                continue;
            };
            let file = dest_url.split('#').next().unwrap_or_default();
            if !file.is_empty() && !file.contains("://") {
                assert!(path.with_file_name(file).exists(), "{} links to {file}", path.display());
            }
        }
    }
}
