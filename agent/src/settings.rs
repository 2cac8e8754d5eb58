//! Settings: thresholds, schedules, policy. Defaults are compiled in (`settings.json`), `$TRIPLINE_HOME/settings.json`
//! overrides them by key, environment variables override single thresholds.
//!
//! Owns: every setting with its default and allowed range ([`Settings`]), what is in force ([`SettingsHandle`]), reading
//! and checking ([`load`]) and following the file while it changes ([`watch`]). Does not own: what governance settings
//! mean ([`crate::govern::settings`]).
//!
//! Must hold: settings in force are always valid; a bad file changes nothing and is told in [`SettingsStatus`].

pub mod load;
pub mod prices;
pub mod watch;
pub mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use tripline_engine::{Param, parse_duration};

use crate::govern::settings::GovernanceSettings;
use crate::runs::settings::RunSettings;
use crate::sampler::SamplingPolicy;

pub use load::{SettingsError, SettingsLoader};
pub use prices::{ModelPrice, ModelPrices};
pub use watch::SettingsWatcher;
pub use write::{Change, ChangeError, Changed};

/// The settings file as it is compiled in, the defaults of a fresh installation.
pub const DEFAULT_SETTINGS_JSON: &str = include_str!("../../settings.json");

/// When the jobs run that are no detector's.
const DEFAULT_SCHEDULES: [(&str, &str); 9] = [
    ("approval_expiry", "0 * * * * *"),
    ("session_processing", "* * * * * *"),
    ("session_monitoring", "* * * * * *"),
    ("on_call_brain", "45 */15 * * * *"),
    ("drift_patrol", "50 0 */4 * * *"),
    ("weekly_digest", "0 0 9 * * MON"),
    ("pr_risk", "*/5 * * * * *"),
    ("risk_history", "20 10 * * * *"),
    ("trace_sampler", "40 */15 * * * *"),
];

/// What a threshold may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ThresholdRule {
    /// Its key in `settings.json`; upper-cased it is its environment variable.
    pub key: &'static str,
    /// Smallest allowed value.
    pub min: f64,
    /// Largest allowed value.
    pub max: f64,
    /// Whether it must be a whole number.
    pub whole: bool,
}

macro_rules! settings {
    ($($(#[$doc:meta])* $key:ident: $type:tt = $default:literal in $min:literal ..= $max:literal,)+) => {
        /// Everything that can be tuned. Every field has a default; unknown keys are an error.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {
            $($(#[$doc])* pub $key: $type,)+
            /// Slack channels whose messages belong to an incident's timeline. When none of them exists, all readable
            /// channels are taken.
            pub incident_channels: Vec<String>,
            /// Cron expression per job (5 fields, or 6 with seconds first), overriding the one in a detector's header.
            pub schedules: BTreeMap<String, String>,
            /// IANA name of the time zone that the weekly digest's schedule and week are in, such as `Europe/Berlin`.
            pub time_zone: String,
            /// What models cost, by pattern of their names, for calls that come without a price. A model that no pattern names
            /// has no price.
            pub model_prices: ModelPrices,
            /// Tables of which a local copy is kept, by `source.table`.
            pub sync: BTreeMap<String, SyncSettings>,
            /// What is taken at the door for events, and how long it is kept.
            pub ingest: IngestSettings,
            /// Who writes narratives.
            pub narrator: NarratorSettings,
            /// How runs are judged.
            pub runs: RunSettings,
            /// Which traces the sampler keeps.
            pub sampling: SamplingPolicy,
            /// Who may approve, what is asked and what is done without asking.
            pub governance: GovernanceSettings,
        }

        impl Default for Settings {
            fn default() -> Self {
                Self {
                    $($key: $default,)+
                    incident_channels: ["incidents", "engineering", "backend", "alerts"].map(str::to_owned).to_vec(),
                    schedules: DEFAULT_SCHEDULES.map(|(job, cron)| (job.to_owned(), cron.to_owned())).into(),
                    time_zone: "UTC".to_owned(),
                    model_prices: ModelPrices::new(),
                    sync: BTreeMap::new(),
                    ingest: IngestSettings::default(),
                    narrator: NarratorSettings::default(),
                    runs: RunSettings::default(),
                    sampling: SamplingPolicy::default(),
                    governance: GovernanceSettings::default(),
                }
            }
        }

        impl Settings {
            /// Every threshold with its allowed range.
            pub const THRESHOLDS: &'static [ThresholdRule] = &[
                $(ThresholdRule { key: stringify!($key), min: $min as f64, max: $max as f64, whole: settings!(@whole $type) },)+
            ];

            /// A threshold, or the prices of models, as a value to be bound in SQL; `None` when there is no such setting.
            #[must_use]
            pub fn threshold(&self, key: &str) -> Option<Param> {
                match key {
                    $(stringify!($key) => Some(Param::from(self.$key)),)+
                    "model_prices" => Some(prices::param(&self.model_prices)),
                    _ => None,
                }
            }
        }
    };
    (@whole i64) => { true };
    (@whole f64) => { false };
}

/// How a local copy of a table is kept. Lengths of time are a number and a unit: `90s`, `5m`, `12h`, `7d`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SyncSettings {
    /// How far back rows are kept.
    pub window: String,
    /// How often `serve` brings it up to date.
    pub interval: String,
    /// How far behind its end it is read again each time, for rows that come late.
    pub overlap: String,
    /// The column that the window is about, where the table's own order does not tell.
    pub time: Option<String>,
}

/// How late a row may come by default: exporters retry for up to an hour (OpenTelemetry's and Sentry's queues), and a quarter
/// of an hour goes by until the next cycle.
const LATE_ROWS: &str = "75m";

impl SyncSettings {
    /// [`Self::overlap`] as a length of time; settings that were checked have one.
    #[must_use]
    pub fn overlap(&self) -> TimeDelta {
        let length = parse_duration(&self.overlap).ok();
        length.and_then(|length| TimeDelta::from_std(length).ok()).unwrap_or_default()
    }
}

impl Default for SyncSettings {
    fn default() -> Self {
        Self { window: "7d".to_owned(), interval: "5m".to_owned(), overlap: LATE_ROWS.to_owned(), time: None }
    }
}

/// What is taken at the door for events, and how long it is kept. Lengths of time are a number and a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestSettings {
    /// Events that a batch may have, 1 to 10000.
    pub max_batch_events: usize,
    /// Bytes that a body may have, 1024 to 268435456; unpacked, a compressed one may have four times as many.
    pub max_body_bytes: usize,
    /// Requests that one key may send in a minute; 0 is no limit.
    pub rate_limit_per_minute: u64,
    /// Projects whose events keep their raw content, beside its hash. None unless named here.
    pub keep_content: Vec<String>,
    /// How long an event waits in the database before it is sealed into a file, at most.
    pub seal_after: String,
    /// Events from which on they are sealed sooner, 1000 to 1000000.
    pub seal_events: u64,
    /// Events that a file has after compaction, at most, 10000 to 4000000.
    pub file_events: u64,
    /// How long events are kept; empty is for ever.
    pub keep_for: String,
}

impl Default for IngestSettings {
    fn default() -> Self {
        Self {
            max_batch_events: 500,
            max_body_bytes: 8 << 20,
            rate_limit_per_minute: 0,
            keep_content: Vec::new(),
            seal_after: "60s".to_owned(),
            seal_events: 131_072,
            file_events: 262_144,
            keep_for: "400d".to_owned(),
        }
    }
}

settings! {
    /// A feature's hour is a spike above this many times its baseline (seed 003, cost spikes).
    cost_spike_multiplier: f64 = 2.5 in 1.0 ..= 1000.0,
    /// A pull request scoring above this asks for changes (seed 003, PR risk), 0 to 100.
    pr_risk_threshold: i64 = 70 in 0 ..= 100,
    /// A trace with more generations than this in the window is a loop (seed 003, agent loops).
    agent_loop_generation_threshold: i64 = 10 in 1 ..= 100_000,
    /// Errors of the window × US dollars of the overlapping generations above this are a cascade (seed 003); an ordinary hour stands for a dollar where it costs less.
    error_cascade_threshold: f64 = 10.0 in 0.0 ..= 1_000_000_000.0,
    /// A loop of more generations than this is critical.
    agent_loop_critical_generations: i64 = 20 in 1 ..= 1_000_000,
    /// A spike above this many times its baseline is critical.
    cost_spike_critical_ratio: f64 = 5.0 in 1.0 ..= 1000.0,
    /// US dollars above the baseline that a spike must cost at least.
    cost_spike_floor_usd: f64 = 0.10 in 0.0 ..= 1_000_000.0,
    /// A spike must cost more than this many times what is high at such an hour.
    cost_spike_p95_ratio: f64 = 1.25 in 1.0 ..= 1000.0,
    /// Standard deviations of chance (signed root of the deviance) that a spike must exceed, in the cost of an hour or of its calls.
    cost_spike_noise_sigmas: f64 = 5.0 in 0.0 ..= 1000.0,
    /// Hours of history without which no verdict is given.
    cost_spike_min_covered_hours: i64 = 24 in 2 ..= 168,
    /// US dollars that the generations of a cascade must cost more than (seed 003, error cascades); an ordinary hour stands for a dollar where it costs less.
    error_cascade_min_cost_usd: f64 = 1.0 in 0.0 ..= 1_000_000.0,
    /// US dollars that they cost at least all the same.
    error_cascade_floor_usd: f64 = 0.05 in 0.0 ..= 1_000_000.0,
    /// A cascade's feature has more than this many times its ordinary generations.
    error_cascade_generation_ratio: f64 = 1.5 in 1.0 ..= 1000.0,
    /// Standard deviations of chance (signed root of the deviance) that the additional generations must exceed.
    error_cascade_noise_sigmas: f64 = 4.0 in 0.0 ..= 1000.0,
    /// Errors of an issue in the window against its own past rate, above which they are elevated.
    error_cascade_error_ratio: f64 = 2.0 in 1.0 ..= 1000.0,
    /// Standard deviations of chance that the additional errors of an issue must exceed.
    error_cascade_error_sigmas: f64 = 3.0 in 0.0 ..= 1000.0,
    /// Errors that a burst has at least.
    error_cascade_min_errors: i64 = 3 in 1 ..= 1_000_000,
    /// A cascade above this many times its threshold is critical.
    error_cascade_critical_ratio: f64 = 5.0 in 1.0 ..= 1000.0,
    /// Share of the newest outputs above which broken ones are drift (seed 003, prompt drift): 0.15 itself is not.
    drift_fail_rate_threshold: f64 = 0.15 in 0.0 ..= 1.0,
    /// Share of broken outputs above which drift is of high severity.
    drift_high_fail_rate: f64 = 0.5 in 0.0 ..= 1.0,
    /// Outputs in the window without which a feature is not judged.
    drift_min_outputs: i64 = 5 in 1 ..= 20,
    /// Broken outputs that drift has at least.
    drift_min_failures: i64 = 2 in 1 ..= 20,
    /// Standard deviations of chance that broken outputs must exceed, by the share that healthy outputs always had.
    drift_noise_sigmas: f64 = 4.0 in 0.0 ..= 1000.0,
    /// Healthy outputs without which no schema is captured, and texts at a key without which it has no format.
    drift_min_history: i64 = 20 in 1 ..= 100_000,
    /// Share of healthy outputs that must have a key for it to be required.
    drift_required_key_share: f64 = 0.95 in 0.5 ..= 1.0,
    /// Fall of an average score above which it is a regression (seed 003, prompt drift, strategy B).
    score_regression_delta: f64 = 0.1 in 0.0 ..= 1_000_000.0,
    /// Scores on either side without which no regression is judged.
    score_regression_min_samples: i64 = 8 in 1 ..= 100_000,
    /// Standard errors of the difference that a regression must exceed.
    score_regression_noise_sigmas: f64 = 4.0 in 0.0 ..= 1000.0,
    /// Share of a tool's newest outputs above which failing ones are a failure.
    tool_failure_share_threshold: f64 = 0.15 in 0.0 ..= 1.0,
    /// Failing outputs that a failure has at least.
    tool_failure_min_failures: i64 = 2 in 1 ..= 20,
    /// Standard deviations of chance that failing outputs must exceed, by the share that the tool always had.
    tool_failure_noise_sigmas: f64 = 5.0 in 0.0 ..= 1000.0,
    /// Outputs of a tool before the window without which it is not judged.
    tool_failure_min_history: i64 = 10 in 1 ..= 100_000,
    /// Share of earlier outputs that were JSON from which on a tool is one that returns JSON.
    tool_failure_json_share: f64 = 0.95 in 0.5 ..= 1.0,
    /// An output shorter than this share of the tool's average is an anomaly (seed 003, strategy C).
    tool_output_short_ratio: f64 = 0.2 in 0.0 ..= 1.0,
    /// Characters that a tool's outputs have on average at least, to be judged by length.
    tool_output_min_average_length: i64 = 50 in 1 ..= 1_000_000,
    /// The share of short outputs must exceed this many times the tool's own earlier share.
    tool_output_own_share_ratio: f64 = 3.0 in 1.0 ..= 1000.0,
    /// Minutes after a tool's call within which an error follows it (seed 003, strategy B).
    tool_error_within_minutes: i64 = 5 in 1 ..= 60,
    /// Events that an issue has at least to be related to a tool.
    tool_error_min_issue_count: i64 = 3 in 1 ..= 1_000_000,
    /// Events that follow calls of the tool at least.
    tool_error_min_following: i64 = 3 in 1 ..= 1_000_000,
    /// How many times more often than by chance errors must follow the tool's calls.
    tool_error_lift: f64 = 3.0 in 1.0 ..= 1000.0,
    /// Standard deviations of chance that this must exceed.
    tool_error_noise_sigmas: f64 = 4.0 in 0.0 ..= 1000.0,
    /// Score below which the first-ranked suspect is not named the culprit.
    suspect_minimum_score: f64 = 0.35 in 0.0 ..= 1.0,
    /// Hours before the onset in which suspects are looked for (seed 003).
    suspect_lookback_hours: i64 = 48 in 1 ..= 720,
    /// Milliseconds by which the sender's times of an event of a session and of its repetition may differ.
    session_dedupe_window_ms: i64 = 2000 in 0 ..= 600_000,
    /// Seconds that a session which goes on rests between two runs of the processing worker.
    session_rest_seconds: i64 = 5 in 0 ..= 3600,
    /// Milliseconds after an action within which an error may be related to it.
    session_correlation_window_ms: i64 = 10_000 in 0 ..= 3_600_000,
    /// Seconds after an agent's action within which a person's edit of the same file overrides it.
    session_override_window_seconds: i64 = 60 in 0 ..= 86_400,
    /// Newest events of a session that the light mode looks at.
    session_recent_events: i64 = 200 in 10 ..= 100_000,
    /// Errors per 100 events of a session above which they are dense.
    session_error_density_threshold: f64 = 25.0 in 0.0 ..= 100.0,
    /// Errors per 100 events above which that is of high severity.
    session_error_density_high: f64 = 50.0 in 0.0 ..= 100.0,
    /// Events of a session without which their density is not judged.
    session_error_density_min_events: i64 = 10 in 1 ..= 100_000,
    /// Failures after an agent's action from which on it is a break-fix cycle.
    session_break_fix_cycles: i64 = 3 in 2 ..= 1000,
    /// Success rate of an agent in a session below which it is flagged.
    session_low_success_rate: f64 = 0.5 in 0.0 ..= 1.0,
    /// Complete windows without its condition after which an incident is resolved.
    incident_clean_windows: i64 = 3 in 1 ..= 1000,
    /// Days within which a resolved incident is reopened instead of opened anew.
    incident_reopen_days: i64 = 7 in 0 ..= 365,
    /// Days of missed windows that are judged after a pause; older ones are recorded as skipped.
    catch_up_days: i64 = 7 in 0 ..= 30,
    /// Tool calls at a run's end that are looked at for a loop (seed 000, TOOL_LOOP).
    tool_loop_window: i64 = 5 in 2 ..= 1000,
    /// Calls of one tool among them from which on they are a loop.
    tool_loop_threshold: i64 = 3 in 2 ..= 1000,
    /// Tool calls at a run's end that must alternate between two tools (seed 000, TOOL_THRASHING).
    tool_thrashing_window: i64 = 6 in 4 ..= 1000,
    /// Model calls from which on a run that used none of its tools avoided them (seed 000, TOOL_AVOIDANCE).
    tool_avoidance_min_llm_calls: i64 = 2 in 1 ..= 1000,
    /// Events at the end of a stalled run that are all about the model (seed 000, GOAL_ABANDONMENT).
    goal_abandonment_stall_steps: i64 = 4 in 1 ..= 1000,
    /// Results below which a retrieval is empty (seed 000, RAG_EMPTY_RETRIEVAL).
    rag_empty_retrieval_min_results: i64 = 1 in 0 ..= 1000,
    /// Best score below which a retrieval found nothing that fits.
    rag_empty_retrieval_min_score: f64 = 0.3 in 0.0 ..= 1000.0,
    /// Truncated model calls of a run that are a failure (seed 000, LLM_TRUNCATION_LOOP).
    llm_truncation_loop_threshold: i64 = 2 in 1 ..= 1000,
    /// Growth of the prompt over a run that is a failure (seed 000, CONTEXT_BLOAT).
    context_bloat_growth_factor: f64 = 3.0 in 1.0 ..= 1000.0,
    /// Model calls without which growth is not judged.
    context_bloat_min_calls: i64 = 3 in 2 ..= 1000,
    /// Tokens of the last prompt without which growth is not judged.
    context_bloat_min_last_tokens: i64 = 2000 in 1 ..= 10_000_000,
    /// With dynamic confidence: growth against that of earlier runs that is a failure.
    context_bloat_inflation_factor: f64 = 2.0 in 1.0 ..= 1000.0,
    /// Milliseconds that a tool call may take (seed 000, SLOW_STEP).
    slow_step_tool_ms: i64 = 15000 in 1 ..= 86_400_000,
    /// Milliseconds that a model call may take.
    slow_step_llm_ms: i64 = 30000 in 1 ..= 86_400_000,
    /// Milliseconds that any other step may take.
    slow_step_default_ms: i64 = 60000 in 1 ..= 86_400_000,
    /// With dynamic confidence: latency against that of earlier runs that is slow.
    slow_step_inflation_factor: f64 = 2.0 in 1.0 ..= 1000.0,
    /// Times its limit from which on a slow step is of high severity.
    slow_step_high_ratio: f64 = 5.0 in 1.0 ..= 1000.0,
    /// Failed calls of one tool, one after the other, that are a storm (seed 000, RETRY_STORM).
    retry_storm_threshold: i64 = 3 in 2 ..= 1000,
    /// Steps against those of earlier runs that are too many (seed 000, STEP_COUNT_INFLATION).
    step_count_inflation_factor: f64 = 2.0 in 1.0 ..= 1000.0,
    /// Failed tool calls at a run's end, of two tools or more, that are a cascade (seed 000, CASCADING_TOOL_FAILURE).
    cascading_tool_failure_threshold: i64 = 3 in 2 ..= 1000,
    /// Steps within which a failure is one of the first steps (seed 000, FIRST_STEP_FAILURE).
    first_step_failure_max_step: i64 = 2 in 0 ..= 1000,
    /// Model calls per tool call from which on an agent only thinks (seed 000, REASONING_STALL).
    reasoning_stall_ratio_threshold: f64 = 4.0 in 1.0 ..= 1000.0,
    /// Model calls without which this is not judged.
    reasoning_stall_min_llm_calls: i64 = 5 in 1 ..= 1000,
    /// With dynamic confidence: the ratio against that of earlier runs that is a failure.
    reasoning_stall_inflation_factor: f64 = 2.0 in 1.0 ..= 1000.0,
    /// Seconds of silence after which a run without an end has stalled (seed 000).
    run_stalled_after_seconds: i64 = 90 in 10 ..= 86_400,
    /// Seconds after the arrival of its last event that a run waits for late ones before it is judged.
    run_settle_seconds: i64 = 2 in 0 ..= 60,
    /// Runs of an agent without a failure after which its incident is resolved (seed 000).
    run_clean_to_resolve: i64 = 5 in 1 ..= 1000,
    /// Days that runs of jobs are kept; the newest of each job stays, and of one job at most 10,000.
    job_runs_keep_days: i64 = 30 in 1 ..= 3650,
    /// Completed runs of the same agent and version that a run is compared with (seed 000).
    run_baseline_runs: i64 = 50 in 10 ..= 1000,
}

/// Which narrator is used. A model's key and address come from the environment, never from this file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum NarratorProvider {
    /// A model when its key is in the environment (Groq, OpenAI, then Anthropic), else templates.
    #[default]
    Auto,
    /// Templates only: nothing leaves the machine.
    Template,
    /// Groq.
    Groq,
    /// OpenAI or anything that speaks its protocol.
    OpenAi,
    /// Anthropic.
    Anthropic,
}

/// Who writes narratives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NarratorSettings {
    /// Which narrator.
    pub provider: NarratorProvider,
    /// Seconds a model may take per attempt, 1 to 120.
    pub timeout_seconds: u64,
    /// Tokens a model may write, 100 to 8000.
    pub max_tokens: u32,
    /// How often a request is tried that gets no answer, 1 to 5.
    pub attempts: u32,
    /// How often a model is told what is wrong with its answer and asked again, 0 to 3.
    pub repairs: u32,
    /// Requests that may be sent within an hour, 0 to 10000; then templates tell.
    pub max_requests_per_hour: u32,
    /// Of these, requests that one API key may cause by asking for explanations, 0 to 10000; then the deterministic one is told.
    pub max_requests_per_key_per_hour: u32,
    /// Tokens, sent and answered, that may be used within 24 hours, 0 to 1000000000; then templates tell.
    pub max_tokens_per_day: u64,
}

impl Default for NarratorSettings {
    fn default() -> Self {
        Self {
            provider: NarratorProvider::Auto,
            timeout_seconds: 20,
            max_tokens: 1000,
            attempts: 2,
            repairs: 1,
            max_requests_per_hour: 120,
            max_requests_per_key_per_hour: 30,
            max_tokens_per_day: 2_000_000,
        }
    }
}

/// Whether the settings in force are the newest that were written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SettingsStatus {
    /// When a file was last taken over; `None` before the first reload.
    pub reloaded_at: Option<DateTime<Utc>>,
    /// Why the newest file is not in force, if so.
    pub error: Option<String>,
    /// When that file was refused.
    pub refused_at: Option<DateTime<Utc>>,
}

#[derive(Debug)]
struct InForce {
    settings: Arc<Settings>,
    status: SettingsStatus,
}

/// The settings in force; cheap to clone, always the newest valid ones.
#[derive(Debug, Clone)]
pub struct SettingsHandle {
    current: Arc<RwLock<InForce>>,
    changes: tokio::sync::watch::Sender<u64>,
    /// Where they come from; without it they cannot be changed but by `set`.
    loader: Option<Arc<SettingsLoader>>,
    /// Held while the file is changed.
    writing: Arc<Mutex<()>>,
}

impl SettingsHandle {
    /// A handle that starts with these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let in_force = InForce { settings: Arc::new(settings), status: SettingsStatus::default() };
        Self {
            current: Arc::new(RwLock::new(in_force)),
            changes: tokio::sync::watch::Sender::new(0),
            loader: None,
            writing: Arc::default(),
        }
    }

    /// With where they come from, so that they can be changed there.
    #[must_use]
    pub fn with_loader(mut self, loader: SettingsLoader) -> Self {
        self.loader = Some(Arc::new(loader));
        self
    }

    pub(crate) fn loader(&self) -> Option<&SettingsLoader> {
        self.loader.as_deref()
    }

    pub(crate) fn writing(&self) -> &Mutex<()> {
        &self.writing
    }

    /// The settings in force now.
    #[must_use]
    pub fn get(&self) -> Arc<Settings> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).settings)
    }

    /// Whether they are the newest that were written.
    #[must_use]
    pub fn status(&self) -> SettingsStatus {
        self.current.read().unwrap_or_else(PoisonError::into_inner).status.clone()
    }

    /// Replaces them.
    pub fn set(&self, settings: Settings) {
        self.current.write().unwrap_or_else(PoisonError::into_inner).settings = Arc::new(settings);
        self.changes.send_modify(|version| *version += 1);
    }

    /// Counts every reload, taken over or refused; for those who want to be told.
    #[must_use]
    pub fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Takes over what was read at `now`, or keeps the settings in force and tells why.
    pub(crate) fn reloaded(&self, read: Result<Settings, SettingsError>, now: DateTime<Utc>) {
        {
            let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
            match read {
                Ok(settings) => {
                    current.settings = Arc::new(settings);
                    current.status = SettingsStatus { reloaded_at: Some(now), error: None, refused_at: None };
                }
                Err(error) => {
                    current.status.error = Some(error.to_string());
                    current.status.refused_at = Some(now);
                }
            }
        }
        self.changes.send_modify(|version| *version += 1);
    }
}
