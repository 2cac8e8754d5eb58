//! `tripline sources`: what can be read, and whether it answers.

use std::path::{Path, PathBuf};

use serde_json::json;
use tripline_connectors::{Connectors, Source, SourceStatus};
use tripline_engine::RemoteTable;

use crate::app::{Home, clock, status_text};
use crate::args::SourcesCommand;
use crate::failure::Failure;
use crate::terminal;

pub(crate) async fn run(command: SourcesCommand, home: &Home) -> Result<(), Failure> {
    // These need no source, and help to repair a broken one.
    match command {
        SourcesCommand::Schema => return schema(),
        SourcesCommand::New { openapi, name, out } => return new(home, &openapi, name, out),
        SourcesCommand::Lint { files } => return lint(&files),
        _ => {}
    }
    let connectors = home.connectors(&clock(None));
    match command {
        SourcesCommand::List { json } => list(&connectors, json),
        SourcesCommand::Describe { name } => describe(&connectors, &name),
        SourcesCommand::Schema | SourcesCommand::New { .. } | SourcesCommand::Lint { .. } => Ok(()),
        SourcesCommand::Test { name } => test(&connectors, name.as_deref()).await,
    }
}

fn list(connectors: &Connectors, as_json: bool) -> Result<(), Failure> {
    for problem in connectors.problems() {
        terminal::error_line(&format!("{problem}"));
    }
    let sources = connectors.sources();
    if as_json {
        let rows: Vec<_> = sources
            .iter()
            .map(|source| {
                let tables: Vec<String> = source.tables().iter().map(|table| table.name().to_owned()).collect();
                json!({
                    "name": source.name(), "description": source.description(), "status": status_text(source),
                    "configured": source.status() == SourceStatus::Configured,
                    "base_url": source.base_url(), "tables": tables,
                })
            })
            .collect();
        terminal::line(&serde_json::Value::from(rows).to_string());
        return Ok(());
    }
    let rows = sources.iter().map(|source| {
        let tables: Vec<String> = source.tables().iter().map(|table| table.name().to_owned()).collect();
        vec![source.name().to_owned(), status_text(source), source.base_url(), tables.join(", ")]
    });
    terminal::line(&terminal::table(&["source", "status", "base URL", "tables"], rows.collect()));
    Ok(())
}

fn unknown(connectors: &Connectors, name: &str) -> Failure {
    let known: Vec<&str> = connectors.sources().iter().map(Source::name).collect();
    Failure::new(format!("there is no source '{name}'")).hint(format!("known sources: {}", known.join(", ")))
}

fn describe(connectors: &Connectors, name: &str) -> Result<(), Failure> {
    let (source_name, table_name) = name.split_once('.').map_or((name, None), |(s, t)| (s, Some(t)));
    let source = connectors.source(source_name).ok_or_else(|| unknown(connectors, source_name))?;
    let tables = source.tables();
    let Some(table_name) = table_name else {
        terminal::line(&format!(
            "{}: {}\n{} at {}\n",
            source.name(),
            source.description(),
            status_text(source),
            source.base_url()
        ));
        let rows = tables.iter().map(|t| vec![t.name().to_owned(), t.capabilities().description.clone()]);
        terminal::line(&terminal::table(&["table", "rows are"], rows.collect()));
        return Ok(());
    };
    let Some(table) = tables.iter().find(|t| t.name() == table_name) else {
        let known: Vec<&str> = tables.iter().map(|t| t.name()).collect();
        return Err(Failure::new(format!("{source_name} has no table '{table_name}'"))
            .hint(format!("its tables: {}", known.join(", "))));
    };
    describe_table(table.as_ref(), &source.serving(table_name).unwrap_or_default());
    Ok(())
}

fn describe_table(table: &dyn RemoteTable, serving: &str) {
    let capabilities = table.capabilities();
    terminal::line(&format!("{}.{}: {}", table.source(), table.name(), capabilities.description));
    terminal::line(&capabilities.guide);
    // The same sentences are on the table's page, where names stand in backticks.
    terminal::line(&serving.replace('`', ""));
    let rows = column_rows(table);
    terminal::line(&terminal::table(&["column", "type", "pushed filters", "what it is"], rows));
    terminal::line("~ the vendor returns more than matches; Tripline filters again.");
}

/// Name, type, pushed filters and meaning of each column.
fn column_rows(table: &dyn RemoteTable) -> Vec<Vec<String>> {
    let capabilities = table.capabilities();
    let filters = &capabilities.filters;
    let schema = table.schema();
    let rows = schema.fields().iter().map(|field| {
        let pushed: Vec<String> = filters
            .iter()
            .filter(|filter| filter.column == *field.name())
            .map(|filter| format!("{}{}", filter.operator.sql(), if filter.exact { "" } else { "~" }))
            .collect();
        let about = capabilities.columns.get(field.name()).cloned().unwrap_or_default();
        vec![field.name().clone(), field.data_type().to_string(), pushed.join(" "), about]
    });
    rows.collect()
}

fn schema() -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&tripline_connectors::json_schema());
    terminal::line(&text.map_err(|error| Failure::new(format!("the schema cannot be written: {error}")))?);
    Ok(())
}

fn new(home: &Home, openapi: &Path, name: Option<String>, out: Option<PathBuf>) -> Result<(), Failure> {
    let shown = openapi.display();
    let text = std::fs::read_to_string(openapi)
        .map_err(|error| Failure::new(format!("cannot read {shown}: {error}")).hint("name a file with --openapi"))?;
    let name = name.unwrap_or_else(|| {
        let stem = openapi.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = stem.split('.').next().unwrap_or_default().to_ascii_lowercase();
        stem.replace(|c: char| !c.is_ascii_alphanumeric(), "_")
    });
    let draft = tripline_connectors::draft(&name, &text).map_err(|error| {
        let is_name = error.starts_with(&format!("`{name}`"));
        let hint = if is_name { "give the source a name with --name" } else { "name the document with --openapi" };
        Failure::new(format!("{shown}: {error}")).hint(hint)
    })?;
    let path = out.unwrap_or_else(|| home.sources_dir().join(format!("{name}.yaml")));
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        let mut file = std::fs::File::create_new(&path)?;
        std::io::Write::write_all(&mut file, draft.yaml.as_bytes())
    });
    written.map_err(|error| {
        Failure::new(format!("cannot write {}: {error}", path.display())).hint("choose another file with --out")
    })?;
    terminal::line(&format!("{}: {} tables. What is left to decide:", path.display(), draft.tables));
    for decision in &draft.decisions {
        terminal::line(&format!("- {decision}"));
    }
    terminal::line(&format!("Then: tripline sources lint {0} && tripline sources test {name}", path.display()));
    Ok(())
}

fn lint(files: &[std::path::PathBuf]) -> Result<(), Failure> {
    let mut broken = 0;
    for file in files {
        match tripline_connectors::lint(file) {
            Ok(spec) => terminal::line(&format!("{}: ok, source {}", file.display(), spec.name)),
            Err(errors) => {
                broken += 1;
                terminal::error_line(&errors.to_string());
            }
        }
    }
    if broken == 0 { Ok(()) } else { Err(Failure::new(format!("{broken} of {} files have errors", files.len()))) }
}

async fn test(connectors: &Connectors, only: Option<&str>) -> Result<(), Failure> {
    let chosen: Vec<&Source> = match only {
        Some(name) => vec![connectors.source(name).ok_or_else(|| unknown(connectors, name))?],
        None => connectors.sources().iter().collect(),
    };
    let results = futures::future::join_all(chosen.iter().map(|source| source.test())).await;
    let mut failed = Vec::new();
    for (source, result) in chosen.iter().zip(results) {
        match result {
            Ok(took) => terminal::line(&format!("{}: ok in {} ms", source.name(), took.as_millis())),
            Err(error) => {
                terminal::line(&format!("{}: {error}", source.name()));
                // A source nobody configured fails the check only when it was asked for by name.
                if source.status() == SourceStatus::Configured || only.is_some() {
                    failed.push(source.name().to_owned());
                }
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::new(format!("no answer from {}", failed.join(", ")))) }
}

#[cfg(test)]
mod tests {
    use tripline_connectors::ConnectorOptions;
    use tripline_engine::Environment;

    use super::*;

    #[test]
    fn every_column_of_a_bundled_source_says_what_it_is() {
        let connectors = Connectors::load(&ConnectorOptions {
            environment: &Environment::of([("X", String::new())]),
            sources_dir: None,
            cache_dir: None,
            clock: clock(None),
            retry_seed: 1,
        });
        let mut columns = 0;
        for source in connectors.sources() {
            for table in source.tables() {
                for row in column_rows(table.as_ref()) {
                    assert!(
                        row.iter().skip(3).all(|about| !about.is_empty()),
                        "{}.{} {row:?}",
                        source.name(),
                        table.name()
                    );
                    columns += 1;
                }
            }
        }
        assert!(columns > 100, "only {columns} columns were looked at");
    }
}
