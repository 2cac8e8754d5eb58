//! `tripline sql`: rows on standard output, the completeness report and progress on standard error.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tripline_engine::{CompletenessReport, OutputFormat, Param, Params, Progress, QueryOptions, RowWriter, ScanReport};

use crate::app::{Home, Reader};
use crate::args::{ReportFormat, SqlArgs};
use crate::destination::Destination;
use crate::failure::Failure;

pub(crate) async fn run(args: SqlArgs, home: Home) -> Result<(), Failure> {
    let format = format(&args)?;
    let app = Reader::open(&home, args.now).await?;
    let (sql, params) = query_text(&args, &app)?;
    let options = QueryOptions {
        params,
        timeout: args.deadline(),
        max_requests: args.max_requests,
        freshness: args.freshness,
        partial: args.partial,
        ..QueryOptions::default()
    };
    let mut rows = app.context.engine.query(&sql, options).await?;

    let mut out = Destination::open(args.output.as_deref())?;
    let mut writer = RowWriter::new(&mut out, format, rows.schema());
    let meter = std::io::stderr().is_terminal().then(|| Meter::start(rows.progress()));
    let mut failed = None;
    loop {
        tokio::select! {
            next = rows.next() => match next {
                Ok(Some(batch)) => writer.write(&batch)?,
                Ok(None) => break,
                Err(error) => { failed = Some(error); break; }
            },
            _ = tokio::signal::ctrl_c() => {
                failed = Some(tripline_engine::EngineError::Cancelled);
                break;
            }
        }
    }
    drop(meter);
    let report = rows.report();
    // Rows that came before a failure are not an answer: JSON stays unfinished, so that nothing can read it as one.
    if let Some(error) = failed {
        print_report(&report, args.report, true);
        return Err(error.into());
    }
    writer.finish_with(&report)?;
    out.keep()?;
    print_report(&report, args.report, false);
    if report.complete { Ok(()) } else { Err(Failure::incomplete(&report.warnings)) }
}

/// How the rows are written.
fn format(args: &SqlArgs) -> Result<OutputFormat, Failure> {
    let on_terminal = args.output.is_none() && std::io::stdout().is_terminal();
    match args.format {
        Some(OutputFormat::Parquet) if on_terminal => Err(Failure::usage(
            "Parquet is not for a terminal",
            "tripline sql --format parquet --output rows.parquet \"SELECT * FROM tripline.tables\"",
        )),
        Some(format) => Ok(format),
        None if on_terminal => Ok(OutputFormat::Table),
        None => Ok(OutputFormat::Ndjson),
    }
}

/// The query and its values.
fn query_text(args: &SqlArgs, app: &Reader) -> Result<(String, Params), Failure> {
    let given: BTreeMap<String, String> = args.params.iter().cloned().collect();
    if let Some(path) = &args.file {
        return app.query_file(path, &given);
    }
    let text = match args.query.as_deref() {
        Some("-") | None => {
            if std::io::stdin().is_terminal() {
                return Err(Failure::usage("no query", "tripline sql \"SELECT * FROM tripline.tables\""));
            }
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::file(Path::new("standard input"), &error))?;
            text
        }
        Some(text) => text.to_owned(),
    };
    Ok((text, given.into_iter().map(|(name, value)| (name, Param::Text(value))).collect()))
}

fn print_report(report: &CompletenessReport, format: ReportFormat, failed: bool) {
    let mut err = std::io::stderr().lock();
    // Nothing can be done about a closed standard error.
    let _ = match format {
        ReportFormat::Json => match serde_json::to_string(report) {
            Ok(text) => writeln!(err, "{text}"),
            Err(error) => writeln!(err, "the report cannot be shown: {error}"),
        },
        ReportFormat::Off if report.complete || failed => Ok(()),
        ReportFormat::Off | ReportFormat::Text => write!(err, "{}", text(report, failed)),
    };
}

/// The report in a few lines.
fn text(report: &CompletenessReport, failed: bool) -> String {
    let verdict = match (failed, report.complete) {
        (true, _) => "failed",
        (false, true) => "complete",
        (false, false) => "INCOMPLETE",
    };
    let mut lines = format!(
        "{verdict}: {} rows in {:.2} s, {} requests\n",
        report.rows,
        report.elapsed_ms as f64 / 1000.0,
        report.requests
    );
    for scan in &report.scans {
        lines.push_str(&format!("  {}\n", scan_line(scan)));
    }
    for warning in &report.warnings {
        lines.push_str(&format!("  warning: {warning}\n"));
    }
    for note in &report.notes {
        lines.push_str(&format!("  note: {note}\n"));
    }
    lines
}

fn scan_line(scan: &ScanReport) -> String {
    let mut line = format!(
        "{}.{}: {} requests, {} pages, {} rows, {:.1} kB",
        scan.source,
        scan.table,
        scan.requests,
        scan.pages,
        scan.rows,
        scan.bytes as f64 / 1000.0
    );
    let mut extra = |name: &str, count: u64| {
        if count > 0 {
            line.push_str(&format!(", {count} {name}"));
        }
    };
    extra("version probes", scan.probes);
    extra("cache hits", scan.cache_hits);
    extra("retries", scan.retries);
    extra("ms waited", scan.waited_ms);
    for note in &scan.notes {
        line.push_str(&format!("; {note}"));
    }
    line
}

/// Pages, rows and the busiest source while a query runs on a terminal.
struct Meter {
    bar: ProgressBar,
    task: tokio::task::JoinHandle<()>,
}

impl Meter {
    fn start(progress: Progress) -> Self {
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        let task = tokio::spawn({
            let bar = bar.clone();
            async move {
                let mut tick = tokio::time::interval(Duration::from_millis(100));
                loop {
                    tick.tick().await;
                    let scans = progress.scans();
                    let parts: Vec<String> = scans
                        .iter()
                        .map(|s| format!("{}.{} {} pages {} rows", s.source, s.table, s.pages, s.rows))
                        .collect();
                    bar.set_message(parts.join(" · "));
                    bar.tick();
                }
            }
        });
        Self { bar, task }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}
