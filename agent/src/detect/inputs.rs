//! The tables of a query's own: baselines, taken or remembered.
//!
//! Owns: loading what a header declares with `-- input:`, filling lists from it, and the memory cache. Must hold: an
//! optional input whose source fails is an empty table and a gap; one whose source is not configured is an empty table
//! and a note; a required one that fails is the whole query's gap.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use arrow::array::AsArray;
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use futures::future::{BoxFuture, join_all};
use tripline_engine::{InputTable, Param, Params, QueryOptions};
use tripline_store::{Gap, Window};

use super::run::Run;
use super::{DetectError, Failure, Persist, cost_hours, failure, schemas};
use crate::AgentContext;
use crate::queries::library::QuerySet;
use crate::queries::spec::Bindings;
use crate::queries::{BaselineSpec, InputUse, Keep, Span};
use crate::settings::Settings;

/// Baselines kept in memory, by name.
pub(crate) type Cache = HashMap<String, Cached>;

/// A baseline in memory.
#[derive(Debug, Clone)]
pub(crate) struct Cached {
    /// The text of its file when it was taken.
    sql: String,
    /// The end of the time it was taken over.
    end: DateTime<Utc>,
    tables: Vec<InputTable>,
}

/// What loading gave.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) tables: Vec<InputTable>,
    pub(crate) lists: Params,
    pub(crate) gaps: Vec<Gap>,
    pub(crate) notes: Vec<String>,
    pub(crate) requests: u64,
}

/// Loads the inputs of one window.
pub(crate) struct Loader<'a> {
    pub(crate) ctx: &'a AgentContext,
    pub(crate) set: &'a QuerySet,
    pub(crate) cache: &'a Mutex<Cache>,
    pub(crate) settings: &'a Settings,
    pub(crate) window: Window,
    /// The end of the history that counts as healthy; at most the window's start.
    pub(crate) healthy_until: DateTime<Utc>,
    pub(crate) persist: Persist,
}

impl Loader<'_> {
    /// Loads everything that `bindings` declare, at once.
    pub(crate) fn load<'s>(
        &'s self,
        bindings: &'s Bindings,
        origin: &'s str,
    ) -> BoxFuture<'s, Result<Loaded, Failure>> {
        Box::pin(async move {
            let mut all = Loaded::default();
            for loaded in join_all(bindings.inputs.iter().map(|input| self.input(input, origin))).await {
                let loaded = loaded?;
                all.tables.extend(loaded.tables);
                all.gaps.extend(loaded.gaps);
                all.notes.extend(loaded.notes);
                all.requests += loaded.requests;
            }
            for list in &bindings.lists {
                let values = column_values(&all.tables, &list.input, &list.column);
                let values = values.map_err(|message| DetectError::Result { origin: origin.to_owned(), message })?;
                all.lists.insert(list.name.clone(), Param::TextList(values));
            }
            Ok(all)
        })
    }

    async fn input(&self, input: &InputUse, origin: &str) -> Result<Loaded, Failure> {
        let Some(spec) = self.set.baselines.get(&input.name) else {
            let known: Vec<&str> = self.set.baselines.keys().map(String::as_str).collect();
            let message = format!("there is no baseline '{}'; there are {}", input.name, known.join(", "));
            return Err(DetectError::Result { origin: origin.to_owned(), message }.into());
        };
        match self.take(spec).await {
            Err(Failure::Gap { gap, not_configured }) if input.optional => {
                let mut loaded = Loaded { tables: vec![self.empty(spec).await?], ..Loaded::default() };
                if not_configured {
                    loaded.notes.push(format!("{} is not configured: judged without it", gap.source));
                } else {
                    loaded.gaps.push(gap);
                }
                Ok(loaded)
            }
            taken => taken,
        }
    }

    async fn take(&self, spec: &BaselineSpec) -> Result<Loaded, Failure> {
        let (start, end) = match spec.span {
            Span::Window => (self.window.start, self.window.end),
            Span::Before(length) => (self.healthy_until - length, self.healthy_until),
            Span::Last(length) => (self.window.end - length, self.window.end),
        };
        match spec.keep {
            Keep::No => self.fetch(spec, start, end, &[]).await.map(|(loaded, _)| loaded),
            Keep::Memory(age) => {
                if let Some(cached) = self.cached(spec, end, age) {
                    return Ok(Loaded { tables: cached, ..Loaded::default() });
                }
                let (loaded, complete) = self.fetch(spec, start, end, &[]).await?;
                if complete {
                    let cached = Cached { sql: spec.header.sql.clone(), end, tables: loaded.tables.clone() };
                    self.cache.lock().unwrap_or_else(PoisonError::into_inner).insert(spec.name.clone(), cached);
                }
                Ok(loaded)
            }
            Keep::CostHours => {
                let end = end.duration_trunc(TimeDelta::hours(1)).unwrap_or(end);
                let Span::Before(length) = spec.span else { return Err(no_span(spec)) };
                cost_hours::load(self, spec, end - length, end).await
            }
            Keep::Schemas => {
                let Span::Before(length) = spec.span else { return Err(no_span(spec)) };
                schemas::load(self, spec, length).await
            }
        }
    }

    /// A baseline that was taken at most `age` before `end`.
    fn cached(&self, spec: &BaselineSpec, end: DateTime<Utc>, age: TimeDelta) -> Option<Vec<InputTable>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let cached = cache.get(&spec.name)?;
        let fits = cached.sql == spec.header.sql && cached.end <= end && end - cached.end <= age;
        fits.then(|| cached.tables.clone())
    }

    /// Runs a baseline over `[start, end)`; whether its answer was complete.
    pub(super) async fn fetch(
        &self,
        spec: &BaselineSpec,
        start: DateTime<Utc>,
        end: DateTime<Utc>,
        more: &[(&str, Param)],
    ) -> Result<(Loaded, bool), Failure> {
        let mut loaded = self.load(&spec.bindings, &spec.header.origin).await?;
        let mut params = spec.bindings.values(self.settings);
        params.extend(std::mem::take(&mut loaded.lists));
        params.insert("start".to_owned(), Param::Timestamp(start));
        params.insert("end".to_owned(), Param::Timestamp(end));
        params.insert("skip_newest".to_owned(), Param::Int(0));
        params.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        params.retain(|name, _| spec.header.placeholders.contains(name));
        let input = std::mem::take(&mut loaded.tables);
        let run = Run {
            engine: &self.ctx.engine,
            header: &spec.header,
            params,
            input,
            now: self.window.end,
            stop_when_empty: None,
        };
        let answer = run.answer().await.map_err(|error| failure(error, &spec.header.origin, &spec.sources))?;
        loaded.requests += answer.requests;
        loaded.gaps.extend(answer.gaps);
        let complete = loaded.gaps.is_empty();
        loaded.tables = answer
            .result
            .map(|result| InputTable { name: spec.name.clone(), schema: result.schema, batches: result.batches })
            .into_iter()
            .collect();
        Ok((loaded, complete))
    }

    /// A baseline's table without rows: its columns are known from its plan, without asking any source.
    fn empty<'s>(&'s self, spec: &'s BaselineSpec) -> BoxFuture<'s, Result<InputTable, Failure>> {
        Box::pin(async move {
            let mut input = Vec::new();
            for nested in spec.bindings.inputs.iter().filter_map(|i| self.set.baselines.get(&i.name)) {
                input.push(self.empty(nested).await?);
            }
            let mut params = spec.bindings.values(self.settings);
            params.insert("start".to_owned(), Param::Timestamp(self.window.start));
            params.insert("end".to_owned(), Param::Timestamp(self.window.end));
            params.insert("skip_newest".to_owned(), Param::Int(0));
            params.extend(spec.bindings.lists.iter().map(|l| (l.name.clone(), Param::TextList(Vec::new()))));
            params.retain(|name, _| spec.header.placeholders.contains(name));
            let options = QueryOptions { params, input, ..QueryOptions::default() };
            let planned = self.ctx.engine.query(&spec.header.sql, options).await;
            let planned = planned.map_err(|error| failure(error, &spec.header.origin, &spec.sources))?;
            Ok(InputTable { name: spec.name.clone(), schema: planned.schema(), batches: Vec::new() })
        })
    }
}

fn no_span(spec: &BaselineSpec) -> Failure {
    let line = spec.header.find("over").map_or(1, |entry| entry.line);
    let hint = Some("write a length of time, as in -- over: 7d".to_owned());
    spec.header.error(line, "a baseline that is kept in the store is taken before the window", hint).into()
}

/// The distinct values of a text column, sorted.
fn column_values(tables: &[InputTable], table: &str, column: &str) -> Result<Vec<String>, String> {
    let missing = || format!("the input '{table}' has no text column '{column}'");
    let table = tables.iter().find(|t| t.name == table).ok_or_else(missing)?;
    let mut values = BTreeSet::new();
    for batch in &table.batches {
        let array = batch.column_by_name(column).ok_or_else(missing)?;
        let array = cast(array, &DataType::Utf8).map_err(|_| missing())?;
        values.extend(array.as_string::<i32>().iter().flatten().map(str::to_owned));
    }
    Ok(values.into_iter().collect())
}
