//! What a session may `SET`: `tripline.freshness`, `tripline.timeout`, `tripline.max_requests`.
//!
//! Owns: [`Settings`], and reading `SET`, `SHOW` and `RESET` of these names out of a script of statements. Does not own:
//! running the one query that a script may end with (`query`).
//!
//! Must hold: a setting narrows what the caller of the query allows and never widens it; a script that has a mistake
//! changes nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::sql::parser::{ResetStatement, Statement};
use datafusion::sql::sqlparser::ast::{self, Set};

use crate::error::EngineError;
use crate::params::parse_duration;
use crate::query::QueryOptions;
use crate::session::InputTable;

const PREFIX: &str = "tripline.";

/// What a session has set. What it has not is as the options of each query say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    /// How old an answer from a local copy may be.
    pub freshness: Option<Duration>,
    /// Wall time a query may take.
    pub timeout: Option<Duration>,
    /// HTTP requests a query may send.
    pub max_requests: Option<u64>,
}

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Freshness,
    Timeout,
    MaxRequests,
}

impl Name {
    const ALL: [Self; 3] = [Self::Freshness, Self::Timeout, Self::MaxRequests];

    fn text(self) -> &'static str {
        match self {
            Self::Freshness => "tripline.freshness",
            Self::Timeout => "tripline.timeout",
            Self::MaxRequests => "tripline.max_requests",
        }
    }

    fn about(self) -> &'static str {
        match self {
            Self::Freshness => "How old an answer from a local copy may be",
            Self::Timeout => "Wall time a query may take",
            Self::MaxRequests => "HTTP requests a query may send",
        }
    }

    fn of(text: &str) -> Result<Self, EngineError> {
        Self::ALL.into_iter().find(|name| name.text() == text).ok_or_else(|| {
            let all: Vec<&str> = Self::ALL.iter().map(|name| name.text()).collect();
            EngineError::query(format!("there is no setting {text}"), format!("there is {}", all.join(", ")))
        })
    }
}

/// What a script comes to.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) settings: Settings,
    pub(crate) last: Last,
}

/// What a script's answer is.
#[derive(Debug)]
pub(crate) enum Last {
    /// That of a query.
    Query(Box<Statement>),
    /// The values of settings, as a table of the query's own.
    Shown(InputTable),
}

/// Reads a script: any number of `SET` and `RESET`, then at most one query or `SHOW`.
pub(crate) fn read(
    mut statements: VecDeque<Statement>,
    before: &Settings,
    options: &QueryOptions,
) -> Result<Script, EngineError> {
    let Some(last) = statements.pop_back() else {
        return Err(EngineError::query("the query is empty", "try SELECT * FROM tripline.tables"));
    };
    let mut settings = before.clone();
    for statement in statements {
        if settings.change(&statement, options)?.is_none() {
            return Err(EngineError::query(
                "one query at a time",
                "before a query there may be SET and RESET of tripline.*, each with a semicolon",
            ));
        }
    }
    let shown = match settings.change(&last, options)? {
        Some(changed) => Some(changed),
        None => asked_for(&last)?,
    };
    let last = match shown {
        Some(names) => Last::Shown(settings.table(&names, options)?),
        None => Last::Query(Box::new(last)),
    };
    Ok(Script { settings, last })
}

/// The names in a `SHOW tripline` or `SHOW tripline.x`.
fn asked_for(statement: &Statement) -> Result<Option<Vec<Name>>, EngineError> {
    let Statement::Statement(statement) = statement else { return Ok(None) };
    let ast::Statement::ShowVariable { variable } = statement.as_ref() else { return Ok(None) };
    let name = variable.iter().map(|part| part.value.to_lowercase()).collect::<Vec<_>>().join(".");
    if name == PREFIX.trim_end_matches('.') {
        return Ok(Some(Name::ALL.to_vec()));
    }
    if !name.starts_with(PREFIX) {
        return Ok(None);
    }
    Name::of(&name).map(|name| Some(vec![name]))
}

impl Settings {
    /// Takes in a `SET` or `RESET` of ours: what was changed. `None` for any other statement.
    fn change(&mut self, statement: &Statement, options: &QueryOptions) -> Result<Option<Vec<Name>>, EngineError> {
        if let Statement::Reset(ResetStatement::Variable(variable)) = statement {
            let name = variable.to_string().to_lowercase();
            if !name.starts_with(PREFIX) {
                return Ok(None);
            }
            let name = Name::of(&name)?;
            match name {
                Name::Freshness => self.freshness = None,
                Name::Timeout => self.timeout = None,
                Name::MaxRequests => self.max_requests = None,
            }
            return Ok(Some(vec![name]));
        }
        let Statement::Statement(statement) = statement else { return Ok(None) };
        let ast::Statement::Set(Set::SingleAssignment { variable, values, .. }) = statement.as_ref() else {
            return Ok(None);
        };
        let name = variable.to_string().to_lowercase();
        if !name.starts_with(PREFIX) {
            return Ok(None);
        }
        let name = Name::of(&name)?;
        let [value] = values.as_slice() else {
            return Err(EngineError::query(format!("{} takes one value", name.text()), example(name)));
        };
        self.set(name, value.to_string().trim_matches('\''), options)?;
        Ok(Some(vec![name]))
    }

    fn set(&mut self, name: Name, text: &str, options: &QueryOptions) -> Result<(), EngineError> {
        let wrong = |problem: String| EngineError::query(format!("{}: {problem}", name.text()), example(name));
        let too_much = |most: String| {
            let message = format!("{} may be at most {most} here", name.text());
            EngineError::query(message, "raise the limit where the query is sent from")
        };
        match name {
            Name::Freshness => self.freshness = Some(parse_duration(text).map_err(wrong)?),
            Name::Timeout => {
                let timeout = parse_duration(text).map_err(wrong)?;
                if timeout > options.timeout {
                    return Err(too_much(shown(options.timeout)));
                }
                self.timeout = Some(timeout);
            }
            Name::MaxRequests => {
                let requests = text.parse().map_err(|_| wrong(format!("'{text}' is no number of requests")))?;
                if requests > options.max_requests {
                    return Err(too_much(options.max_requests.to_string()));
                }
                self.max_requests = Some(requests);
            }
        }
        Ok(())
    }

    /// The options of a query of this session. The caller's limits may have become tighter since a `SET`.
    pub(crate) fn applied_to(&self, mut options: QueryOptions) -> QueryOptions {
        options.freshness = self.freshness.unwrap_or(options.freshness);
        options.timeout = self.timeout.map_or(options.timeout, |timeout| timeout.min(options.timeout));
        options.max_requests = self.max_requests.map_or(options.max_requests, |most| most.min(options.max_requests));
        options
    }

    /// Names, values and what they mean.
    fn table(&self, names: &[Name], options: &QueryOptions) -> Result<InputTable, EngineError> {
        let options =
            self.applied_to(QueryOptions { params: Default::default(), input: Vec::new(), ..options.clone() });
        let value = |name: &Name| match name {
            Name::Freshness => shown(options.freshness),
            Name::Timeout => shown(options.timeout),
            Name::MaxRequests => options.max_requests.to_string(),
        };
        let text = |values: Vec<String>| -> ArrayRef { Arc::new(StringArray::from(values)) };
        let batch = RecordBatch::try_from_iter([
            ("name", text(names.iter().map(|name| name.text().to_owned()).collect())),
            ("value", text(names.iter().map(value).collect())),
            ("description", text(names.iter().map(|name| name.about().to_owned()).collect())),
        ]);
        let batch = batch.map_err(|error| EngineError::Execution(error.to_string()))?;
        Ok(InputTable { name: "settings".to_owned(), schema: batch.schema(), batches: vec![batch] })
    }
}

fn example(name: Name) -> String {
    let value = if name == Name::MaxRequests { "100" } else { "'60s'" };
    format!("SET {} = {value}", name.text())
}

/// A length of time as [`parse_duration`] reads it.
fn shown(time: Duration) -> String {
    match time.as_millis() {
        millis if millis % 1000 == 0 => format!("{}s", millis / 1000),
        millis => format!("{millis}ms"),
    }
}
