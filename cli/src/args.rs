//! The command line, as types.
//!
//! Owns: every flag and its help. A flag changes together with `docs/cli.md`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand, ValueEnum};
use tripline_engine::OutputFormat;
use tripline_simulator::{FaultSpec, LabelledDown};

/// SQL over Langfuse, Sentry, GitHub, Slack and your own events; incidents found, explained, and acted on after approval.
#[derive(Debug, Parser)]
#[command(name = "tripline", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole job on simulated vendors: detect, investigate, narrate, approve, act.
    Demo(DemoArgs),
    /// Run the server: API, web page, detectors, approvals and actions.
    Serve(ServeArgs),
    /// Serve stand-ins for the vendors' APIs on loopback.
    Simulate(SimulateArgs),
    /// Write a scenario to the configured vendors through their real write endpoints.
    Seed(SeedArgs),
    /// Ask a question in SQL.
    Sql(SqlArgs),
    /// Read files of events, spans or log records into the event log.
    Ingest(IngestArgs),
    /// Bring local copies of tables up to date, or read a stretch of time again.
    Sync(SyncArgs),
    /// Look at the sources: what is configured, what their tables offer, whether they answer.
    #[command(subcommand)]
    Sources(SourcesCommand),
    /// Look at detectors and run one over a window. Writes nothing.
    #[command(subcommand)]
    Detectors(DetectorsCommand),
    /// Score a pull request by what followed when its files were changed before, and comment on it.
    PrRisk(PrRiskArgs),
    /// Draw what led to what: the graph of a trace or of a window. Writes nothing.
    #[command(subcommand)]
    Forensics(ForensicsCommand),
    /// Look at jobs and run one now.
    #[command(subcommand)]
    Jobs(JobsCommand),
    /// Tell the traces worth looking at from the others, and see how many that were.
    #[command(subcommand)]
    Sampling(SamplingCommand),
    /// Tell of the last whole week: what shipped, what broke, what to watch.
    Digest(DigestArgs),
    /// Send a session of an agent or developer to a running server, and see what was found of it.
    #[command(subcommand)]
    Session(SessionCommand),
    /// Measure what Tripline promises, on the simulator.
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Manage API keys.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Manage projects: each customer's rows are a project of their own.
    #[command(subcommand)]
    Projects(ProjectsCommand),
    /// The audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Check the configuration: sources, credentials, Slack app, state, settings.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// One scenario instead of all five as one history.
    #[arg(long, value_name = "NAME")]
    pub(crate) scenario: Option<String>,
    /// Run headless to the end and exit.
    #[arg(long)]
    pub(crate) once: bool,
    /// Print one JSON document at the end (implies --once).
    #[arg(long)]
    pub(crate) json: bool,
    /// Port of the web page (0 picks one).
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Generation of the Langfuse API to simulate.
    #[arg(long, value_enum, default_value_t = Generation::V4)]
    pub(crate) langfuse: Generation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Generation {
    /// Legacy listings (self-hosted v3).
    V3,
    /// v2/observations and v3/scores (Cloud, v4).
    V4,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) host: IpAddr,
    /// Port to listen on (0 picks one).
    #[arg(long, default_value_t = 8000)]
    pub(crate) port: u16,
    /// Start the clock at this time; it runs on from there.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) now: Option<DateTime<Utc>>,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Port to listen on (0 picks one).
    #[arg(long, default_value_t = 9000)]
    pub(crate) port: u16,
    /// A bundled scenario; `all` is the five as one history.
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    pub(crate) scenario: Option<String>,
    /// Serve vendor-native JSON arrays from DIR/VENDOR/COLLECTION.json.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// End of a bundled scenario's history; default: now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) anchor: Option<DateTime<Utc>>,
    /// Show nothing later than this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) clock: Option<DateTime<Utc>>,
    /// Delay of every answer, milliseconds.
    #[arg(long, default_value_t = 0, value_name = "L")]
    pub(crate) latency_ms: u64,
    /// Misbehave: SOURCE:PATH=FAULT, or FAULT*TIMES, with status:503, drop, hang, throttle or truncate. Repeatable.
    #[arg(long, value_name = "SPEC")]
    pub(crate) fault: Vec<FaultSpec>,
    /// Generation of the Langfuse API.
    #[arg(long, value_enum, default_value_t = Generation::V4)]
    pub(crate) langfuse: Generation,
}

#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// The scenario to write.
    pub(crate) scenario: String,
    /// Write to hosts that are not loopback.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The query; `-` or nothing reads it from standard input.
    pub(crate) query: Option<String>,
    /// Read the query from a file: a path, or the name of a bundled one (see queries/).
    #[arg(long, value_name = "F", conflicts_with = "query")]
    pub(crate) file: Option<PathBuf>,
    /// A value for $k in the query. Repeatable.
    #[arg(long = "param", value_name = "K=V", value_parser = param)]
    pub(crate) params: Vec<(String, String)>,
    /// table, json, ndjson, csv or parquet; default: table on a terminal, else ndjson.
    #[arg(long)]
    pub(crate) format: Option<OutputFormat>,
    /// Write the rows to this file, which is there only once they all are.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Form of the completeness report on standard error.
    #[arg(long, value_enum, default_value_t = ReportFormat::Text)]
    pub(crate) report: ReportFormat,
    /// What now() is in the query.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) now: Option<DateTime<Utc>>,
    /// Seconds the query may take.
    #[arg(long, default_value_t = 120, value_name = "SECONDS")]
    pub(crate) timeout: u64,
    /// HTTP requests the query may send.
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    pub(crate) max_requests: u64,
    /// Take what there is when a source fails; the report says what is missing.
    #[arg(long)]
    pub(crate) partial: bool,
    /// How old rows from local copies may be, such as 60s.
    #[arg(long, value_name = "AGE", default_value = "0s", value_parser = tripline_engine::parse_duration)]
    pub(crate) freshness: Duration,
}

impl SqlArgs {
    pub(crate) fn deadline(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    /// Files of JSON, each line or document by itself: events or batches of the Dunetrace wire, lines its SDKs write for
    /// Loki, OTLP traces and logs. `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Send to a running server, with the key of TRIPLINE_API_KEY, instead of writing to this home's store.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// Print the report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Only the copies of this table, as source.table; else all that settings.json names under `sync`.
    pub(crate) table: Option<String>,
    /// Read again from here: what the source no longer has is removed.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "to")]
    pub(crate) from: Option<DateTime<Utc>>,
    /// Up to here, exclusive.
    #[arg(long, value_name = "TIME", value_parser = time, requires = "from")]
    pub(crate) to: Option<DateTime<Utc>>,
    /// What the present is.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) now: Option<DateTime<Utc>>,
    /// Seconds each table may take; what came by then is kept.
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub(crate) timeout: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ReportFormat {
    /// A few readable lines.
    Text,
    /// One JSON object on one line.
    Json,
    /// Nothing, unless the answer is incomplete.
    Off,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SourcesCommand {
    /// All sources, whether they are configured, and their tables.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// One source or table: columns, keys, filters the vendor understands.
    Describe {
        /// `source` or `source.table`.
        name: String,
    },
    /// Check a source file.
    Lint {
        /// Files to check.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of source files, for editors.
    Schema,
    /// Draft a source file from the OpenAPI document of an API.
    New {
        /// The document: OpenAPI 3.0 or 3.1, JSON or YAML.
        #[arg(long, value_name = "FILE")]
        openapi: PathBuf,
        /// Name of the source; the document's file name when absent.
        #[arg(long)]
        name: Option<String>,
        /// Where to write the draft; `sources.d/NAME.yaml` in the home directory when absent. Nothing is overwritten.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Send one cheap request to each source (or one).
    Test {
        /// Only this source.
        name: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DetectorsCommand {
    /// All detectors with window, schedule and file.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Judge the window that ends at TIME. Writes nothing.
    Run {
        /// The detector.
        name: String,
        /// End of the window; default: now.
        #[arg(long, value_name = "TIME", value_parser = time)]
        at: Option<DateTime<Utc>>,
        /// Print a JSON array of anomalies.
        #[arg(long)]
        json: bool,
        /// Set the clock.
        #[arg(long, value_name = "TIME", value_parser = time)]
        now: Option<DateTime<Utc>>,
    },
    /// Say which of the newest judged runs a detector of runs would flag that is no file of the home yet. Writes nothing.
    DryRun {
        /// The detector's SQL file.
        file: std::path::PathBuf,
        /// How many of the newest runs.
        #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5000))]
        runs: u32,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Judge every window that was due between two times with a detector's file. Writes nothing.
    Backtest {
        /// The detector's SQL file.
        file: std::path::PathBuf,
        /// From when on windows end.
        #[arg(long, value_name = "TIME", value_parser = time)]
        from: DateTime<Utc>,
        /// Until when.
        #[arg(long, value_name = "TIME", value_parser = time)]
        to: DateTime<Utc>,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum BenchCommand {
    /// Replay labelled history through the whole product and print recall, precision, delay and culprits per class.
    Accuracy(AccuracyArgs),
    /// How many of a model's texts are accepted, repaired and rejected, when it is honest and when it is not.
    Narratives(NarrativesArgs),
}

#[derive(Debug, Args)]
pub(crate) struct AccuracyArgs {
    /// A data directory with a truth.json.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["generate", "seed", "keep", "quiet", "features", "calls_per_hour", "rename_seed", "outage"])]
    pub(crate) data: Option<std::path::PathBuf>,
    /// Make so many histories and measure on all of them; every third one is quiet.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) generate: u32,
    /// Seed of the first history; the others have the next ones.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Make histories in which nothing goes wrong.
    #[arg(long)]
    pub(crate) quiet: bool,
    /// Features of a history, 3 to 30; else drawn by the seed.
    #[arg(long, value_name = "N")]
    pub(crate) features: Option<usize>,
    /// Model calls per hour of a history, 20 to 5000; else drawn by the seed.
    #[arg(long, value_name = "N")]
    pub(crate) calls_per_hour: Option<f64>,
    /// The same histories under other names (features, tools, models, prompts, files, people, projects, channels, labels): the
    /// verdicts must be the same.
    #[arg(long, value_name = "SEED")]
    pub(crate) rename_seed: Option<u64>,
    /// A source that is down for a week before anything goes wrong: nothing may be found in it, and nothing lost after it.
    #[arg(long, value_name = "SOURCE", value_parser = clap::builder::PossibleValuesParser::new(LabelledDown::SOURCES))]
    pub(crate) outage: Option<String>,
    /// Hours that it is down.
    #[arg(long, value_name = "N", default_value_t = 168, requires = "outage", value_parser = clap::value_parser!(u32).range(1..=720))]
    pub(crate) outage_hours: u32,
    /// Keep the generated histories in this folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<std::path::PathBuf>,
    /// Restart the product after every N cycles.
    #[arg(long, value_name = "N")]
    pub(crate) restart_every: Option<u32>,
    /// Print one JSON document.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ForensicsCommand {
    /// The observations of a trace, by who called whom.
    Trace {
        /// The trace.
        id: String,
        /// Print a Mermaid flowchart instead of JSON.
        #[arg(long)]
        mermaid: bool,
        /// Set the clock.
        #[arg(long, value_name = "TIME", value_parser = time)]
        now: Option<DateTime<Utc>>,
    },
    /// Commits, errors, traces and messages of a window.
    Incident {
        /// Begin of the window.
        #[arg(long, value_name = "TIME", value_parser = time)]
        start: DateTime<Utc>,
        /// End of the window, exclusive.
        #[arg(long, value_name = "TIME", value_parser = time)]
        end: DateTime<Utc>,
        /// Print a Mermaid flowchart instead of JSON.
        #[arg(long)]
        mermaid: bool,
        /// Set the clock.
        #[arg(long, value_name = "TIME", value_parser = time)]
        now: Option<DateTime<Utc>>,
    },
    /// The dearest traces of the last seven days, as JSON.
    WorstTraces {
        /// How many.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
        limit: u16,
        /// Set the clock.
        #[arg(long, value_name = "TIME", value_parser = time)]
        now: Option<DateTime<Utc>>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PrRiskArgs {
    /// Number of the pull request.
    pub(crate) number: u64,
    /// Owner of the repository; default: GITHUB_OWNER.
    #[arg(long, requires = "repo")]
    pub(crate) owner: Option<String>,
    /// Name of the repository; default: GITHUB_REPO.
    #[arg(long, requires = "owner")]
    pub(crate) repo: Option<String>,
    /// What the present is: a commit is measured when the 24 hours after it are over.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) now: Option<DateTime<Utc>>,
    /// Score it, and neither keep nor post anything.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// All jobs with schedule, watermark and last run.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Run a job once, now.
    Run {
        /// The job.
        name: String,
        /// Do everything but write and act.
        #[arg(long)]
        dry_run: bool,
        /// What the present is.
        #[arg(long, value_name = "TIME", value_parser = time)]
        now: Option<DateTime<Utc>>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct NarrativesArgs {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DigestArgs {
    /// Keep nothing and post nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Print the digest with its figures and the queries behind them, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// What the present is: the digest is of the week that ended last before it.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) now: Option<DateTime<Utc>>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SessionCommand {
    /// Begin a session and print its id. With a key that is known, the one there is.
    Start(SessionStart),
    /// Send events: one JSON array, or one JSON object per line. Sending them again doubles nothing.
    Send(SessionSend),
    /// End a session.
    End(SessionEnd),
    /// Print what is known of a session, as JSON.
    Show {
        /// Its id.
        id: String,
        /// Which part of it.
        #[arg(long, value_enum, default_value_t = SessionPart::Summary)]
        part: SessionPart,
        #[command(flatten)]
        server: SessionServer,
    },
    /// Analyse a session now, and print what was found.
    Analyze {
        /// Its id.
        id: String,
        /// How thoroughly: the newest events, or all of them.
        #[arg(long, value_enum, default_value_t = SessionMode::Light)]
        mode: SessionMode,
        #[command(flatten)]
        server: SessionServer,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SessionServer {
    /// The server; default: TRIPLINE_URL, else http://127.0.0.1:8000. TRIPLINE_API_KEY holds the key, where one is needed.
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SessionName {
    /// The session, by id.
    #[arg(long = "session", value_name = "ID")]
    pub(crate) id: Option<String>,
    /// The session, by the key it was begun with.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SessionStart {
    /// Whose session it is.
    #[arg(long, value_name = "USER")]
    pub(crate) user: String,
    /// In which workspace.
    #[arg(long, value_name = "WORKSPACE")]
    pub(crate) workspace: String,
    /// A key of your own: beginning again with it gives the same session.
    #[arg(long, value_name = "KEY")]
    pub(crate) key: Option<String>,
    /// A word to find it by. Repeatable.
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// How the agent or editor is configured: a file with a JSON object. Secrets in it are cut out.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// When it began; default: now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) at: Option<DateTime<Utc>>,
    /// Print the whole session, as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: SessionServer,
}

#[derive(Debug, Args)]
pub(crate) struct SessionSend {
    /// The events; `-` or nothing reads standard input.
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) session: SessionName,
    /// Events per request.
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) batch: u16,
    #[command(flatten)]
    pub(crate) server: SessionServer,
}

#[derive(Debug, Args)]
pub(crate) struct SessionEnd {
    #[command(flatten)]
    pub(crate) session: SessionName,
    /// When it ended; default: now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(crate) at: Option<DateTime<Utc>>,
    #[command(flatten)]
    pub(crate) server: SessionServer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SessionPart {
    /// Everything at a glance.
    Summary,
    /// The session itself.
    Session,
    /// Its events.
    Events,
    /// Its error clusters.
    Errors,
    /// Its errors and the actions before them.
    Correlations,
    /// Its agents in figures.
    Performance,
    /// What somebody should know of it.
    Insights,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SessionMode {
    /// The newest events.
    Light,
    /// All of them, with the agents in figures.
    Deep,
}

impl SessionMode {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Deep => "deep",
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Create a key. The secret is printed once.
    Create {
        /// A name for the key.
        name: String,
        /// Whose it is; recorded as the one who decided. Default: the key's name.
        #[arg(long)]
        person: Option<String>,
        /// read, ingest, operate or admin. Repeatable; default: read.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<tripline_store::KeyScope>,
        /// Id of the project whose rows it sees and makes. Default: the installation's own.
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
        /// When it ends by itself: a number and a unit, such as 90d. Default: never.
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<String>,
    },
    /// Print an address that signs a browser in as a key, once, within ten minutes.
    Link {
        /// Name or id of the key.
        key: String,
        /// Where the server is reached.
        #[arg(long, default_value = "http://127.0.0.1:8000")]
        url: String,
    },
    /// All keys, without secrets.
    List,
    /// Revoke a key.
    Revoke {
        /// Its id.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Recompute the hash chain and say where it breaks.
    Verify {
        /// A head noted earlier (`SEQ:HASH`): also detects a shortened log.
        #[arg(long, value_name = "SEQ:HASH")]
        anchor: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Do not call any vendor.
    #[arg(long)]
    pub(crate) offline: bool,
}

/// RFC 3339, or a date, or a date and time in UTC.
fn time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    for format in ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"] {
        if let Ok(time) = chrono::NaiveDateTime::parse_from_str(text, format) {
            return Ok(time.and_utc());
        }
    }
    if let Some(time) = text.parse::<chrono::NaiveDate>().ok().and_then(|date| date.and_hms_opt(0, 0, 0)) {
        return Ok(time.and_utc());
    }
    Err("write a time as 2026-01-31T12:00:00Z".to_owned())
}

fn param(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write a parameter as name=value")?;
    let name = name.trim().trim_start_matches('$');
    if name.is_empty() {
        return Err("write a parameter as name=value".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

mod projects;
mod sampling;
#[cfg(test)]
mod tests;

pub(crate) use projects::ProjectsCommand;
pub(crate) use sampling::SamplingCommand;
