//! What is promised of files: each refusal has its place, the good lines around it are kept, and nothing stops the rest.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use flate2::{Compression, write::GzEncoder};
use tripline_agent::sessions::SessionRules;
use tripline_agent::settings::Settings;
use tripline_store::{OpenMode, SqliteStore};

use super::*;

struct Desk {
    folder: tempfile::TempDir,
    intake: Intake,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path().join("state.db"), OpenMode::Serve).unwrap();
        let sink = Sink::Store(store, SessionRules::of(&Settings::default()));
        let report = Report::default();
        Self { folder, intake: Intake { sink, waiting: Vec::new(), of_sessions: Vec::new(), bytes: 0, report } }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name)
    }

    /// Reads files; the report.
    async fn read(&mut self, files: &[PathBuf]) -> &Report {
        self.intake.report = Report::default();
        self.intake.files(files).await.unwrap();
        self.intake.submit().await.unwrap();
        &self.intake.report
    }
}

/// Counts, and the refusals without the folder.
fn told(report: &Report) -> ((usize, usize), Vec<String>) {
    let short = |refusal: &Refusal| {
        let text = refusal.to_string();
        let file = Path::new(&refusal.place.file).file_name().map_or_else(String::new, |n| n.to_string_lossy().into());
        text.replacen(&refusal.place.file, &file, 1)
    };
    ((report.accepted, report.rejected), report.refusals.iter().map(short).collect())
}

/// A good event of step `step`.
fn event(step: usize) -> String {
    json!({"event_type": "tool.called", "run_id": "r", "agent_id": "a", "agent_version": "v", "step_index": step,
           "timestamp": 1_700_000_000.5, "payload": {"tool_name": "search"}})
    .to_string()
}

fn with_payload(payload: &str) -> String {
    event(0).replace(r#"{"tool_name":"search"}"#, payload)
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn each_hostile_line_is_refused_with_file_line_and_field_and_the_lines_around_it_are_kept() {
    let mut desk = Desk::new();
    let fields: Map<String, Value> = (0..10_000).map(|n| (format!("field_{n}"), json!(n))).collect();
    let large: Map<String, Value> = (0..900).map(|n| (n.to_string(), json!("x".repeat(120)))).collect();
    let deep = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    let deeper = format!("{}1{}", "[".repeat(60_000), "]".repeat(60_000));
    let long = "x".repeat(33 << 20);
    let hostile: Vec<(Vec<u8>, &str)> = vec![
        (with_payload(&Value::Object(fields).to_string()).into(), "payload: it has more than 1000 values"),
        (with_payload(&format!(r#"{{"a": {deep}}}"#)).into(), "payload: it is nested more than 16 levels deep"),
        (with_payload(&format!(r#"{{"a": {deeper}}}"#)).into(), "it is nested more than 128 levels deep"),
        (with_payload("[1]").into(), "payload: it must be an object"),
        (with_payload(r#"{"a": NaN}"#).into(), "it is no JSON at its line 1, column"),
        (with_payload(&Value::Object(large).to_string()).into(), "payload: it has 1"),
        (event(0).replace(r#""step_index":0"#, r#""step_index":-1"#).into(), "step_index: it must be a whole number"),
        (event(0).replace("1700000000.5", "4700000000.5").into(), "timestamp: it is"),
        (event(0).replace("1700000000.5", "5.0").into(), "timestamp: it must be seconds since 1970"),
        (event(0).replace(r#""r""#, r#""""#).into(), "run_id: it is missing or empty"),
        (event(0).replace("tool.called", "tool.exploded").into(), "event_type: it is none of the known types"),
        (event(0).replace("search", "\u{1}").into(), "it is no JSON at its line 1, column"),
        ([&b"{\"a\": \""[..], b"\xff\xfe\"}"].concat(), "it is no UTF-8 at its byte 8"),
        (long.into(), "the line has more than 33554432 bytes"),
        (event(0)[..40].to_owned().into(), "it is no JSON at its line 1, column 40: it is cut off there"),
        (b"\0\0\0".to_vec(), "it is no JSON at its line 1, column 1"),
        (b"7".to_vec(), "it is neither an object nor an array of objects"),
        (b"{}".to_vec(), "it is in no known format"),
    ];
    let mut content = Vec::new();
    for (step, (line, _)) in hostile.iter().enumerate() {
        content.extend([event(step + 1).as_bytes(), line].join(&b'\n'));
        content.push(b'\n');
    }
    content.extend(event(hostile.len() + 1).into_bytes());
    let path = desk.write("log.ndjson", content);
    let ((accepted, rejected), refusals) = told(desk.read(&[path]).await);
    assert_eq!((accepted, rejected), (hostile.len() + 1, hostile.len()), "{refusals:#?}");
    for (index, (_, reason)) in hostile.iter().enumerate() {
        let place = format!("log.ndjson:{}: {reason}", 2 * index + 2);
        assert!(refusals.iter().any(|refusal| refusal.starts_with(&place)), "{place} is not among {refusals:#?}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_costs_itself_and_is_named() {
    let mut desk = Desk::new();
    std::fs::create_dir(desk.path("folder")).unwrap();
    let bomb = packed(&vec![b' '; 8 << 20]).repeat(20);
    let cut_off = packed(format!("{}\n{}\n", event(1), event(2)).repeat(3_000).as_bytes());
    let files = [
        desk.path("folder"),
        desk.path("missing"),
        desk.write("empty", ""),
        desk.write("blank", "\n \n\r\n"),
        desk.write("bomb.gz", &bomb),
        desk.write("cut_off.gz", &cut_off[..cut_off.len() - 4]),
        desk.write("good.gz", packed(format!("{}\n{}", event(3), event(4)).as_bytes())),
    ];
    let report = desk.read(&files).await;
    let ((accepted, rejected), refusals) = told(report);
    let said = |start: &str| assert!(refusals.iter().any(|one| one.starts_with(start)), "no {start} in {refusals:#?}");
    said("folder: it is a folder; name its files");
    said("missing: it cannot be opened: No such file");
    said("bomb.gz:1: the file cannot be read from here on: it unpacks to more than 250 times its size");
    said("cut_off.gz:6001: the file cannot be read from here on: what is packed with gzip is broken or cut off");
    assert_eq!((accepted, rejected, refusals.len()), (4, 4, 4), "{refusals:#?}");
    let empty: Vec<_> = report.empty.iter().map(|name| name.rsplit('/').next().unwrap()).collect();
    assert_eq!(empty, ["empty", "blank"]);
    assert!(report.verdict().is_err(), "a part is missing");
}

#[tokio::test]
async fn a_long_array_is_taken_item_by_item_and_only_its_bad_items_are_refused() {
    let mut desk = Desk::new();
    let items: Vec<String> = (0..3_000).map(|n| if n % 10 == 9 { "7".to_owned() } else { event(n) }).collect();
    let line = desk.write("line.json", format!("[{}]\n", items.join(",")));
    let ((accepted, rejected), refusals) = told(desk.read(&[line]).await);
    assert_eq!((accepted, rejected, refusals.len()), (2_700, 300, SHOWN), "all are counted, some are shown");
    assert_eq!(refusals[1], "line.json:1, item 19: it is neither an object nor an array of objects");
    let pretty = desk.write("pretty.json", format!("[\n{}\n]\n", items.join(",\n")));
    let report = desk.read(&[pretty]).await;
    assert_eq!((report.accepted, report.duplicates, report.rejected), (0, 2_700, 300));
}

#[tokio::test]
async fn a_line_of_a_million_bad_items_is_counted_and_not_hoarded() {
    let mut desk = Desk::new();
    let path = desk.write("many.json", format!("[{}7]", "7,".repeat(1_000_000)));
    let report = desk.read(&[path]).await;
    assert_eq!((report.rejected, report.refusals.len()), (1_000_001, SHOWN));
    assert!(desk.intake.waiting.is_empty() && desk.intake.waiting.capacity() <= BATCH);
}
