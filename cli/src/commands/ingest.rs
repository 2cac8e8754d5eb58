//! `tripline ingest`: reads files of events, spans or log records, and keeps what they say of runs.
//!
//! Owns reading files, telling the formats apart line by line, and the report. Does not own what an event may be: the
//! store says that, here or behind `--url`. Must hold: nothing is passed over in silence; every refusal names file and
//! line; a file that cannot be read costs itself only; memory is bounded, whatever a file holds; doing it again after a
//! failure doubles nothing.

mod formats;
mod frames;
#[cfg(test)]
mod hostile;
mod sessions;
mod sinks;
#[cfg(test)]
mod tests;
mod unpack;

use std::io::{BufRead, Read, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tripline_store::ingest::{Receipt, WireEvent};

use crate::app::Home;
use crate::args::IngestArgs;
use crate::failure::Failure;
use crate::terminal;
use frames::Frame;
use sinks::Sink;

/// Events that are kept at a time.
const BATCH: usize = 500;
/// Bytes of events that are kept at a time, as the file has them: a server takes 8 MiB.
const BATCH_BYTES: usize = 2 << 20;
/// Refusals that are shown; all are counted.
const SHOWN: usize = 100;

pub(crate) async fn run(args: IngestArgs, home: &Home) -> Result<(), Failure> {
    let sink = Sink::open(args.url.as_deref(), home).await?;
    let mut intake = Intake { sink, waiting: Vec::new(), of_sessions: Vec::new(), bytes: 0, report: Report::default() };
    let read = intake.files(&args.files).await;
    // What was read before a failure is kept, and the report says so.
    let kept = match read {
        Ok(()) => intake.submit().await,
        Err(failure) => Err(failure),
    };
    intake.report.print(args.json)?;
    kept?;
    intake.report.verdict()
}

/// Where an event stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    file: String,
    /// From 1; none when it is the file as a whole.
    line: Option<usize>,
    /// Of a line that holds several: which, from 0.
    item: Option<usize>,
}

/// Why something was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    place: Place,
    field: String,
    reason: String,
}

#[derive(Debug, Default)]
struct Report {
    accepted: usize,
    duplicates: usize,
    rejected: usize,
    /// Spans and records that have nothing to do with agents.
    passed_over: usize,
    refusals: Vec<Refusal>,
    /// Files with nothing in them.
    empty: Vec<String>,
}

struct Intake {
    sink: Sink,
    waiting: Vec<(Place, WireEvent)>,
    /// Single events of sessions: each is one of its batch, whatever session it names.
    of_sessions: Vec<(Place, Value)>,
    /// Bytes of what waits, of either kind.
    bytes: usize,
    report: Report,
}

impl Intake {
    async fn files(&mut self, files: &[PathBuf]) -> Result<(), Failure> {
        for path in files {
            let (name, input) = open(path);
            match input {
                Ok(input) => self.file(&name, input).await?,
                Err(reason) => self.report.refuse(Place { file: name, line: None, item: None }, String::new(), reason),
            }
        }
        Ok(())
    }

    /// Takes a file as far as it can be read.
    async fn file(&mut self, name: &str, input: Box<dyn BufRead + Send>) -> Result<(), Failure> {
        let mut frames = frames::Frames::new(input);
        let mut is_empty = true;
        loop {
            match frames.next() {
                Ok(None) => break,
                Ok(Some(frame)) => {
                    is_empty = false;
                    self.take(name, frame).await?;
                }
                Err(error) => {
                    let place = Place { file: name.to_owned(), line: Some(frames.line() + 1), item: None };
                    let reason = format!("the file cannot be read from here on: {error}");
                    self.report.refuse(place, String::new(), reason);
                    return Ok(());
                }
            }
        }
        if is_empty {
            self.report.empty.push(name.to_owned());
        }
        Ok(())
    }

    async fn take(&mut self, file: &str, frame: Frame) -> Result<(), Failure> {
        let refused = match &frame.text {
            Ok(text) => match formats::items(text) {
                Ok(formats::Items::One(text)) => return self.take_item(file, frame.line, None, text).await,
                Ok(formats::Items::Each(items)) => {
                    for (index, item) in items.into_iter().enumerate() {
                        self.take_item(file, frame.line, Some(index), item.get()).await?;
                    }
                    return Ok(());
                }
                Err(reason) => reason,
            },
            Err(reason) => reason.clone(),
        };
        let place = Place { file: file.to_owned(), line: Some(frame.line), item: None };
        self.report.refuse(place, String::new(), refused);
        Ok(())
    }

    /// Takes one item; `index`: its place in the array that the line is.
    async fn take_item(&mut self, file: &str, line: usize, index: Option<usize>, text: &str) -> Result<(), Failure> {
        let place = |item: Option<usize>| Place { file: file.to_owned(), line: Some(line), item: index.or(item) };
        let found = formats::read(text, index.is_some());
        self.report.passed_over += found.passed_over;
        let events = found.events.len() + found.session_events.len();
        let each = text.len() / events.max(1);
        if events > 0 && self.bytes > 0 && self.bytes + text.len() > BATCH_BYTES {
            self.submit().await?;
        }
        for (item, event) in found.events {
            match event {
                Ok(event) => {
                    self.waiting.push((place(item), event));
                    self.bytes += each;
                }
                Err((field, reason)) => self.report.refuse(place(item), field, reason),
            }
            if self.waiting.len() >= BATCH || self.bytes >= BATCH_BYTES {
                self.submit().await?;
            }
        }
        for (item, event) in found.session_events {
            self.of_sessions.push((place(item), event));
            self.bytes += each;
            if self.of_sessions.len() >= BATCH || self.bytes >= BATCH_BYTES {
                self.submit().await?;
            }
        }
        for (item, batch) in found.sessions {
            // What stood before it is kept before it.
            self.submit_of_sessions().await?;
            let receipt = self.sink.accept_session(&batch).await?;
            self.report.accepted += receipt.accepted;
            self.report.duplicates += receipt.duplicates;
            for rejection in receipt.rejected {
                let place = place(Some(item.unwrap_or(rejection.index)));
                self.report.refuse(place, rejection.field, rejection.reason);
            }
        }
        Ok(())
    }

    /// Keeps what waits.
    async fn submit(&mut self) -> Result<(), Failure> {
        self.submit_of_sessions().await?;
        self.bytes = 0;
        if self.waiting.is_empty() {
            return Ok(());
        }
        let (places, events): (Vec<Place>, Vec<WireEvent>) = std::mem::take(&mut self.waiting).into_iter().unzip();
        let receipt = self.sink.accept(events).await?;
        self.report.count(receipt, &places);
        Ok(())
    }

    async fn submit_of_sessions(&mut self) -> Result<(), Failure> {
        if self.of_sessions.is_empty() {
            return Ok(());
        }
        let (places, events): (Vec<Place>, Vec<Value>) = std::mem::take(&mut self.of_sessions).into_iter().unzip();
        let batch = Map::from_iter([("events".to_owned(), Value::Array(events))]);
        let receipt = self.sink.accept_session(&batch).await?;
        self.report.count(receipt, &places);
        Ok(())
    }
}

/// Opens a file, or says why it cannot be read; with its name.
fn open(path: &Path) -> (String, Result<Box<dyn BufRead + Send>, String>) {
    let reader =
        |input: Box<dyn Read + Send>| unpack::reader(input).map_err(|error| format!("it cannot be read: {error}"));
    if path == Path::new("-") {
        return ("standard input".to_owned(), reader(Box::new(std::io::stdin())));
    }
    let opened = match std::fs::File::open(path) {
        Ok(_) if path.is_dir() => Err("it is a folder; name its files, as in FOLDER/*.ndjson".to_owned()),
        Ok(file) => reader(Box::new(file)),
        Err(error) => Err(format!("it cannot be opened: {error}")),
    };
    (path.display().to_string(), opened)
}

impl Report {
    /// Counts what became of a batch whose events stand at `places`.
    fn count(&mut self, receipt: Receipt, places: &[Place]) {
        self.accepted += receipt.accepted;
        self.duplicates += receipt.duplicates;
        for rejection in receipt.rejected {
            if let Some(place) = places.get(rejection.index) {
                self.refuse(place.clone(), rejection.field, rejection.reason);
            }
        }
    }

    fn refuse(&mut self, place: Place, field: String, reason: String) {
        self.rejected += 1;
        if self.refusals.len() < SHOWN {
            self.refusals.push(Refusal { place, field, reason });
        }
    }

    fn print(&self, as_json: bool) -> Result<(), Failure> {
        if as_json {
            let refusals = self.refusals.iter().map(|refusal| {
                json!({"file": refusal.place.file, "line": refusal.place.line, "item": refusal.place.item,
                       "field": refusal.field, "reason": refusal.reason})
            });
            let refusals: Vec<_> = refusals.collect();
            let report = json!({"accepted": self.accepted, "duplicates": self.duplicates, "rejected": self.rejected,
                                "passed_over": self.passed_over, "empty_files": self.empty, "rejections": refusals});
            writeln!(std::io::stdout().lock(), "{report}").map_err(Failure::display)?;
            return Ok(());
        }
        for refusal in &self.refusals {
            terminal::error_line(&refusal.to_string());
        }
        if self.rejected > self.refusals.len() {
            terminal::error_line(&format!("… and {} more", self.rejected - self.refusals.len()));
        }
        for file in &self.empty {
            terminal::error_line(&format!("{file}: it is empty"));
        }
        let mut line =
            format!("accepted {}, duplicates {}, rejected {}", self.accepted, self.duplicates, self.rejected);
        if self.passed_over > 0 {
            line.push_str(&format!("; {} spans or records had nothing to do with agents", self.passed_over));
        }
        terminal::line(&line);
        Ok(())
    }

    fn verdict(&self) -> Result<(), Failure> {
        match (self.rejected, self.accepted + self.duplicates) {
            (0, _) => Ok(()),
            (rejected, 0) => {
                Err(Failure::new(format!("nothing was kept: {rejected} events, lines or files were refused"))
                    .hint("docs/ingest-otlp.md lists the formats that are understood"))
            }
            (rejected, _) => {
                Err(Failure::partly(format!("{rejected} events, lines or files were refused, the others kept")))
            }
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { file, line, item } = &self.place;
        write!(f, "{file}")?;
        if let Some(line) = line {
            write!(f, ":{line}")?;
        }
        if let Some(item) = item {
            write!(f, ", item {item}")?;
        }
        match self.field.as_str() {
            "" => write!(f, ": {}", self.reason),
            field => write!(f, ": {field}: {}", self.reason),
        }
    }
}
