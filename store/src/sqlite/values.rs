//! Between columns and values: times as microseconds, JSON as text.

use super::connection::DbResult;
use crate::{ExactJson, Result, StoreError};
use chrono::{DateTime, TimeDelta, Utc};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Params, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A time as it is stored.
pub(crate) fn micros(time: DateTime<Utc>) -> i64 {
    time.timestamp_micros()
}

/// An optional time as it is stored.
pub(crate) fn micros_opt(time: Option<DateTime<Utc>>) -> Option<i64> {
    time.map(micros)
}

/// A time as it reads back: without what is finer than a microsecond.
pub(crate) fn whole_micros(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros(time)).unwrap_or(time)
}

/// A time some while later.
pub(crate) fn later(now: DateTime<Utc>, by: Duration) -> Result<DateTime<Utc>> {
    TimeDelta::from_std(by)
        .ok()
        .and_then(|by| now.checked_add_signed(by))
        .ok_or_else(|| StoreError::invalid("duration", "it ends beyond the calendar"))
}

/// A value as the JSON text that is stored.
pub(crate) fn to_json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| StoreError::invalid("json", error.to_string()))
}

/// Reading columns by name.
pub(crate) trait RowExt {
    fn time(&self, column: &str) -> rusqlite::Result<DateTime<Utc>>;
    fn time_opt(&self, column: &str) -> rusqlite::Result<Option<DateTime<Utc>>>;
    fn json<T: DeserializeOwned>(&self, column: &str) -> rusqlite::Result<T>;
    fn json_opt<T: DeserializeOwned>(&self, column: &str) -> rusqlite::Result<Option<T>>;
    fn exact(&self, column: &str) -> rusqlite::Result<ExactJson>;
}

impl RowExt for Row<'_> {
    fn time(&self, column: &str) -> rusqlite::Result<DateTime<Utc>> {
        let stored: i64 = self.get(column)?;
        DateTime::from_timestamp_micros(stored).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, stored))
    }

    fn time_opt(&self, column: &str) -> rusqlite::Result<Option<DateTime<Utc>>> {
        let stored: Option<i64> = self.get(column)?;
        stored
            .map(|stored| {
                DateTime::from_timestamp_micros(stored).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, stored))
            })
            .transpose()
    }

    fn json<T: DeserializeOwned>(&self, column: &str) -> rusqlite::Result<T> {
        parse(column, &self.get::<_, String>(column)?)
    }

    fn json_opt<T: DeserializeOwned>(&self, column: &str) -> rusqlite::Result<Option<T>> {
        self.get::<_, Option<String>>(column)?.map(|text| parse(column, &text)).transpose()
    }

    fn exact(&self, column: &str) -> rusqlite::Result<ExactJson> {
        self.get(column).map(ExactJson::from_stored)
    }
}

fn parse<T: DeserializeOwned>(column: &str, text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let named = format!("column {column} holds JSON of another shape: {error}");
        rusqlite::Error::FromSqlConversionFailure(0, Type::Text, named.into())
    })
}

/// The one row of a query, if there is one.
pub(crate) fn one<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> DbResult<Option<T>> {
    Ok(connection.prepare_cached(sql)?.query_row(params, read).optional()?)
}

/// All rows of a query.
pub(crate) fn all<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> DbResult<Vec<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params, read)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

/// Runs a statement; how many rows it changed.
pub(crate) fn run(connection: &Connection, sql: &str, params: impl Params) -> DbResult<usize> {
    Ok(connection.prepare_cached(sql)?.execute(params)?)
}
