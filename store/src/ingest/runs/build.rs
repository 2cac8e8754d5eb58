//! The run builder: the events of each run, in order, become its rows.

use std::collections::{BTreeMap, HashMap};

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use chrono::{DateTime, TimeDelta, Utc};

use super::events::{Event, Sorted, text};
use super::payload::{Payload, Text};
use super::rows::{Cell, Rows};
use super::schema::RunTable;
use crate::{Result, StoreError};

/// What a name that nobody gave is.
const UNKNOWN: &str = "unknown";

/// Gaps of a kind that are kept of one run at most.
const GAPS: usize = 200;

/// The derived rows of some runs, as batches of each table.
#[derive(Debug, Clone, Default)]
pub struct RunTables {
    batches: BTreeMap<RunTable, Vec<RecordBatch>>,
    gaps: HashMap<String, CallGaps>,
}

/// How long the calls of a run took: milliseconds from each to the next event of the run, whatever it is
/// (`facts/dunetrace.md` §3.1), the first 200 of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CallGaps {
    /// After each `tool.called`.
    pub tools: Vec<i64>,
    /// After each `llm.called`.
    pub llms: Vec<i64>,
}

impl CallGaps {
    fn add(&mut self, kind: &str, gap: i64) {
        let gaps = match kind {
            "tool.called" => &mut self.tools,
            "llm.called" => &mut self.llms,
            _ => return,
        };
        if gaps.len() < GAPS {
            gaps.push(gap);
        }
    }
}

impl RunTables {
    /// Builds the rows of all runs in these batches of `ingest.events`, in whatever order they are. All events of a run
    /// must be there. A run without an end has stalled when nothing was received of it for `stalled_after` before `now`.
    ///
    /// # Errors
    /// When a batch lacks a column of `ingest.events`.
    pub fn build(batches: &[RecordBatch], now: DateTime<Utc>, stalled_after: TimeDelta) -> Result<Self> {
        let sorted = Sorted::new(batches)?;
        let mut tables = Tables::new();
        let stalled_before = (now - stalled_after).timestamp_micros();
        for events in sorted.runs() {
            let wrong = |error: ArrowError| StoreError::Corrupt { what: "event batch", reason: error.to_string() };
            Run::read(events.clone()).write(events, stalled_before, &mut tables).map_err(wrong)?;
        }
        tables.finish().map_err(|error| StoreError::Corrupt { what: "event batch", reason: error.to_string() })
    }

    /// The rows of one table.
    #[must_use]
    pub fn batches(&self, table: RunTable) -> &[RecordBatch] {
        self.batches.get(&table).map_or(&[], Vec::as_slice)
    }

    /// How long the calls of a run took; `None` where nothing followed any.
    #[must_use]
    pub fn gaps(&self, run_id: &str) -> Option<&CallGaps> {
        self.gaps.get(run_id)
    }
}

struct Tables {
    runs: Rows,
    llm_calls: Rows,
    tool_calls: Rows,
    retrievals: Rows,
    steps: Rows,
    gaps: HashMap<String, CallGaps>,
}

impl Tables {
    fn new() -> Self {
        Self {
            runs: Rows::new(RunTable::Runs),
            llm_calls: Rows::new(RunTable::LlmCalls),
            tool_calls: Rows::new(RunTable::ToolCalls),
            retrievals: Rows::new(RunTable::Retrievals),
            steps: Rows::new(RunTable::Steps),
            gaps: HashMap::new(),
        }
    }

    fn finish(self) -> std::result::Result<RunTables, ArrowError> {
        let batches = BTreeMap::from([
            (RunTable::Runs, self.runs.finish()?),
            (RunTable::LlmCalls, self.llm_calls.finish()?),
            (RunTable::ToolCalls, self.tool_calls.finish()?),
            (RunTable::Retrievals, self.retrievals.finish()?),
            (RunTable::Steps, self.steps.finish()?),
        ]);
        Ok(RunTables { batches, gaps: self.gaps })
    }
}

/// A call of a tool, a model or an index. Times are microseconds since 1970.
struct Call<'a> {
    step: i64,
    called_at: Option<i64>,
    responded_at: Option<i64>,
    call: Payload<'a>,
    response: Payload<'a>,
}

impl<'a> Call<'a> {
    fn new(event: &Event<'a>, call: Payload<'a>) -> Self {
        let response = Payload::default();
        Self { step: event.step, called_at: Some(event.occurred_at), responded_at: None, call, response }
    }

    /// What a response says that answers no call that is known.
    fn uncalled(event: &Event<'a>, response: Payload<'a>) -> Self {
        let call = Payload::default();
        Self { step: event.step, called_at: None, responded_at: Some(event.occurred_at), call, response }
    }

    fn answer(&mut self, event: &Event<'a>, response: Payload<'a>) {
        self.responded_at = Some(event.occurred_at);
        self.response = response;
    }

    /// The first of two fields that says something.
    fn named<'c>(&'c self, field: impl Fn(&'c Payload<'a>) -> &'c Text<'a>) -> Option<&'c str> {
        field(&self.call).as_str().or_else(|| field(&self.response).as_str())
    }
}

struct Step<'a> {
    started_at: i64,
    kind: Option<&'a str>,
    duration_ms: Option<i64>,
}

/// A run as far as its events tell.
#[derive(Default)]
struct Run<'a> {
    started: Payload<'a>,
    exit_reason: Option<String>,
    completed: bool,
    error: Option<(Option<String>, Option<String>)>,
    ended_at: Option<i64>,
    tools: Vec<Call<'a>>,
    llms: Vec<Call<'a>>,
    /// Calls without a response so far, by step.
    asked: BTreeMap<i64, Call<'a>>,
    retrievals: Vec<Call<'a>>,
    searching: BTreeMap<i64, Call<'a>>,
    steps: BTreeMap<i64, Step<'a>>,
    gaps: CallGaps,
}

/// Seconds since 1970 as the client's clock gave them: the float nearest to the microseconds.
fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// Milliseconds from one event to the next, cut as the original cuts them: of the difference of two floats of seconds. Now and
/// then that is one less than of the whole microseconds; a detector must say what the original says.
fn gap_ms(from: i64, to: i64) -> Option<i64> {
    (to >= from).then(|| ((seconds(to) - seconds(from)) * 1000.0) as i64)
}

impl<'a> Run<'a> {
    fn read(events: impl Iterator<Item = Event<'a>>) -> Self {
        let mut run = Self::default();
        let mut previous: Option<Event<'a>> = None;
        for event in events {
            if let Some(before) = previous.replace(event)
                && let Some(gap) = gap_ms(before.occurred_at, event.occurred_at)
            {
                if let Some(step) = run.steps.get_mut(&before.step) {
                    // The first gap at a step is its duration; the later ones lie after its response.
                    step.duration_ms.get_or_insert(gap);
                }
                run.gaps.add(before.kind(), gap);
            }
            run.take(&event);
        }
        run
    }

    fn take(&mut self, event: &Event<'a>) {
        let kind = event.kind();
        let step = self.steps.entry(event.step).or_insert(Step {
            started_at: event.occurred_at,
            kind: None,
            duration_ms: None,
        });
        if kind != "external.signal" {
            step.kind.get_or_insert(kind);
        }
        match kind {
            "run.started" => self.started = Payload::read(event.payload()),
            "run.completed" => {
                let payload = Payload::read(event.payload());
                self.exit_reason = Some(payload.exit_reason.as_str().unwrap_or("completed").to_owned());
                self.completed = true;
                self.error = None;
                self.ended_at = Some(event.occurred_at);
            }
            "run.errored" => {
                let payload = Payload::read(event.payload());
                let owned = |text: &Text<'_>| text.as_str().map(str::to_owned);
                self.exit_reason = Some("error".to_owned());
                self.completed = false;
                self.error = Some((owned(&payload.error_type), owned(&payload.error_hash)));
                self.ended_at = Some(event.occurred_at);
            }
            "tool.called" => self.tools.push(Call::new(event, Payload::read(event.payload()))),
            "tool.responded" => self.tool_responded(event),
            "llm.called" => {
                self.asked.insert(event.step, Call::new(event, Payload::read(event.payload())));
            }
            "llm.responded" => {
                let response = Payload::read(event.payload());
                let call = answered(self.asked.remove(&event.step), event, response);
                self.llms.push(call);
            }
            "retrieval.called" => {
                self.searching.insert(event.step, Call::new(event, Payload::read(event.payload())));
            }
            "retrieval.responded" => {
                let response = Payload::read(event.payload());
                let call = answered(self.searching.remove(&event.step), event, response);
                self.retrievals.push(call);
            }
            _ => {}
        }
    }

    fn tool_responded(&mut self, event: &Event<'a>) {
        let response = Payload::read(event.payload());
        let tool = response.tool_name.as_str();
        let open = |call: &Call<'_>| call.responded_at.is_none();
        let same_tool = |call: &Call<'_>| tool.is_none() || call.call.tool_name.as_str() == tool;
        let of_step = self.tools.iter().rposition(|call| open(call) && call.step == event.step && same_tool(call));
        let found = of_step.or_else(|| {
            // Without a name nothing says that the response belongs to a call of another step.
            tool.and_then(|_| self.tools.iter().rposition(|call| open(call) && same_tool(call)))
        });
        if let Some(call) = found.and_then(|position| self.tools.get_mut(position)) {
            call.answer(event, response);
        }
    }

    fn write(
        &self,
        mut events: impl ExactSizeIterator<Item = Event<'a>> + Clone,
        stalled_before: i64,
        tables: &mut Tables,
    ) -> std::result::Result<(), ArrowError> {
        let all = events.clone();
        let Some(first) = events.next() else { return Ok(()) };
        let of_first = |column: fn(&super::events::Columns) -> &arrow::array::StringArray| {
            all.clone().find_map(|event| text(column(event.columns), event.row))
        };
        let run_id = text(&first.columns.run_id, first.row).unwrap_or_default();
        let agent_id = of_first(|columns| &columns.agent_id).unwrap_or(UNKNOWN);
        self.write_calls(run_id, agent_id, tables)?;
        if self.gaps != CallGaps::default() {
            tables.gaps.insert(run_id.to_owned(), self.gaps.clone());
        }
        let span = all.clone().fold((i64::MAX, i64::MIN, i64::MIN), |(start, end, received), event| {
            (start.min(event.occurred_at), end.max(event.occurred_at), received.max(event.received_at()))
        });
        let (started_at, last_event_at, last_received_at) = span;
        let status = match (&self.exit_reason, self.completed) {
            (Some(_), true) => "completed",
            (Some(_), false) => "errored",
            (None, _) if last_received_at <= stalled_before => "stalled",
            (None, _) => "running",
        };
        let (error_type, error_hash) =
            self.error.as_ref().map_or((None, None), |(kind, hash)| (kind.as_deref(), hash.as_deref()));
        let tokens =
            |of: fn(&Call<'_>) -> Option<i64>| self.llms.iter().filter_map(of).fold(0_i64, i64::saturating_add);
        let injection = self.started.injection_signal.0.as_ref();
        let labels = injection.and_then(|found| found.matched_patterns.0.as_ref()).map(|labels| json_list(labels));
        let available = json_list(self.started.tools.0.as_deref().unwrap_or_default());
        tables.runs.push([
            run_id.into(),
            agent_id.into(),
            of_first(|columns| &columns.agent_version).unwrap_or(UNKNOWN).into(),
            of_first(|columns| &columns.parent_run_id).into(),
            of_first(|columns| &columns.trace_id).into(),
            of_first(|columns| &columns.conversation_id).into(),
            status.into(),
            self.exit_reason.as_deref().into(),
            error_type.into(),
            error_hash.into(),
            Cell::Time(Some(started_at)),
            Cell::Time(self.ended_at),
            Cell::Time(Some(last_event_at)),
            Cell::Time(Some(last_received_at)),
            (self.ended_at.unwrap_or(last_event_at).saturating_sub(started_at) / 1_000).max(0).into(),
            self.started.model.as_str().into(),
            self.started.input_hash.as_str().into(),
            available.as_str().into(),
            count(all.len()).into(),
            self.steps.last_key_value().map_or(0, |(step, _)| *step).into(),
            count(self.llms.len()).into(),
            count(self.tools.len()).into(),
            count(self.tools.iter().filter(|call| call.response.success.0 == Some(false)).count()).into(),
            count(self.retrievals.len()).into(),
            self.tools.first().map(|call| call.step).into(),
            tokens(prompt_tokens).into(),
            tokens(|call| call.response.completion_tokens.0).into(),
            injection.and_then(|found| found.matched_pattern_count.0).into(),
            labels.as_deref().into(),
            injection.and_then(|found| found.input_length.0).into(),
        ])
    }

    fn write_calls(&self, run_id: &str, agent_id: &str, tables: &mut Tables) -> std::result::Result<(), ArrowError> {
        for (index, call) in self.tools.iter().enumerate() {
            let response = &call.response;
            tables.tool_calls.push([
                run_id.into(),
                agent_id.into(),
                count(index + 1).into(),
                call.step.into(),
                call.named(|payload| &payload.tool_name).unwrap_or(UNKNOWN).into(),
                call.call.args_hash.as_str().into(),
                Cell::Time(call.called_at),
                Cell::Time(call.responded_at),
                response.latency_ms.0.into(),
                response.success.0.into(),
                response.output_length.0.into(),
                response.error_hash.as_str().into(),
            ])?;
        }
        for (index, call) in self.llms.iter().enumerate() {
            let response = &call.response;
            tables.llm_calls.push([
                run_id.into(),
                agent_id.into(),
                count(index + 1).into(),
                call.step.into(),
                call.named(|payload| &payload.model).unwrap_or(UNKNOWN).into(),
                Cell::Time(call.called_at),
                Cell::Time(call.responded_at),
                response.latency_ms.0.into(),
                prompt_tokens(call).into(),
                response.completion_tokens.0.into(),
                response.reasoning_tokens.0.into(),
                response.finish_reason.as_str().into(),
                response.output_length.0.into(),
                response.output_hash.as_str().into(),
                response.error_hash.as_str().into(),
            ])?;
        }
        for (index, call) in self.retrievals.iter().enumerate() {
            let response = &call.response;
            tables.retrievals.push([
                run_id.into(),
                agent_id.into(),
                count(index + 1).into(),
                call.step.into(),
                call.named(|payload| &payload.index_name).unwrap_or(UNKNOWN).into(),
                call.named(|payload| &payload.query_hash).into(),
                Cell::Time(call.called_at),
                Cell::Time(call.responded_at),
                response.latency_ms.0.into(),
                response.result_count.0.into(),
                response.top_score.0.into(),
                response.error_hash.as_str().into(),
            ])?;
        }
        for (index, step) in &self.steps {
            tables.steps.push([
                run_id.into(),
                agent_id.into(),
                (*index).into(),
                step.kind.into(),
                Cell::Time(Some(step.started_at)),
                step.duration_ms.into(),
            ])?;
        }
        Ok(())
    }
}

fn answered<'a>(call: Option<Call<'a>>, event: &Event<'a>, response: Payload<'a>) -> Call<'a> {
    match call {
        Some(mut call) => {
            call.answer(event, response);
            call
        }
        None => Call::uncalled(event, response),
    }
}

/// The response's count, unless it has none or says 0: then what the call estimated.
fn prompt_tokens(call: &Call<'_>) -> Option<i64> {
    call.response.prompt_tokens.0.filter(|tokens| *tokens != 0).or(call.call.prompt_tokens.0)
}

fn json_list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
