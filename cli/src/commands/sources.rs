//! `tripline sources`: what can be read, and whether it answers.

use serde_json::json;
use tripline_connectors::{Connectors, Source, SourceStatus};
use tripline_engine::RemoteTable;

use crate::app::{Home, clock, status_text};
use crate::args::SourcesCommand;
use crate::failure::Failure;
use crate::terminal;

pub(crate) async fn run(command: SourcesCommand, home: &Home) -> Result<(), Failure> {
    let connectors = home.connectors(&clock(None));
    match command {
        SourcesCommand::List { json } => list(&connectors, json),
        SourcesCommand::Describe { name } => describe(&connectors, &name),
        SourcesCommand::Lint { files } => lint(&files),
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
    describe_table(table.as_ref());
    Ok(())
}

fn describe_table(table: &dyn RemoteTable) {
    let capabilities = table.capabilities();
    terminal::line(&format!("{}.{}: {}", table.source(), table.name(), capabilities.description));
    terminal::line(&capabilities.guide);
    for key in &capabilities.required {
        let sets: Vec<String> = key.any_of.iter().map(|set| set.join(" and ")).collect();
        terminal::line(&format!("Needs {}.", sets.join(" or ")));
    }
    if let Some(order) = &capabilities.natural_order {
        terminal::line(&format!("Rows come in order of {order}."));
    }
    let schema = table.schema();
    let rows = schema.fields().iter().map(|field| {
        let filters: Vec<String> = capabilities
            .filters
            .iter()
            .filter(|f| f.column == *field.name())
            .map(|f| format!("{}{}", f.operator.sql(), if f.exact { "" } else { "~" }))
            .collect();
        let about = capabilities.columns.get(field.name()).cloned().unwrap_or_default();
        vec![field.name().clone(), field.data_type().to_string(), filters.join(" "), about]
    });
    terminal::line(&terminal::table(&["column", "type", "pushed filters", "what it is"], rows.collect()));
    terminal::line("~ the vendor returns more than matches; Tripline filters again.");
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
