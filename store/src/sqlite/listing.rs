//! Newest-first listings with optional filters and a cursor, with every value bound.

use super::connection::DbResult;
use super::values::micros;
use crate::model::{Cursor, MAX_PAGE, Page, PageRequest, Scope};
use chrono::{DateTime, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, ToSql, params_from_iter};

/// A `WHERE` clause in the making. It always begins with the project.
pub(super) struct Filter {
    sql: String,
    values: Vec<Value>,
}

impl Filter {
    pub(super) fn scoped(scope: &Scope) -> Self {
        Self { sql: "project_id = ?1".to_owned(), values: vec![scope.project_id().as_str().to_owned().into()] }
    }

    /// And this condition, out of this crate's source.
    pub(super) fn and(mut self, condition: &'static str) -> Self {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
        self
    }

    /// `column = value`, if there is a value. `column` is a name out of this crate's source.
    pub(super) fn equal(self, column: &'static str, value: Option<impl ToString>) -> Self {
        self.compare(column, "=", value.map(|value| Value::from(value.to_string())))
    }

    /// `column >= time`, if there is a time.
    pub(super) fn since(self, column: &'static str, time: Option<DateTime<Utc>>) -> Self {
        self.compare(column, ">=", time.map(|time| micros(time).into()))
    }

    /// `column < number`, if there is one.
    pub(super) fn below(self, column: &'static str, number: Option<i64>) -> Self {
        self.compare(column, "<", number.map(Value::from))
    }

    fn compare(mut self, column: &'static str, operator: &'static str, value: Option<Value>) -> Self {
        if let Some(value) = value {
            self.values.push(value);
            self.sql.push_str(&format!(" AND {column} {operator} ?{}", self.values.len()));
        }
        self
    }

    pub(super) fn count(self, connection: &Connection, table: &'static str) -> DbResult<i64> {
        self.number(connection, "count(*)", table)
    }

    /// One whole number about all rows: an expression out of this crate's source.
    pub(super) fn number(
        self,
        connection: &Connection,
        expression: &'static str,
        table: &'static str,
    ) -> DbResult<i64> {
        let sql = format!("SELECT {expression} FROM {table} WHERE {}", self.sql);
        Ok(connection.prepare_cached(&sql)?.query_row(params_from_iter(self.values), |row| row.get(0))?)
    }

    /// Rows in the order `order` after the first `offset`, at most `limit` (cut to [`MAX_PAGE`]).
    pub(super) fn newest<T>(
        mut self,
        connection: &Connection,
        table: &'static str,
        order: &'static str,
        limit: u32,
        offset: u32,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> DbResult<Vec<T>> {
        self.values.push(i64::from(limit.min(MAX_PAGE)).into());
        self.values.push(i64::from(offset).into());
        let (limit, offset) = (self.values.len() - 1, self.values.len());
        let sql = format!("SELECT * FROM {table} WHERE {} ORDER BY {order} LIMIT ?{limit} OFFSET ?{offset}", self.sql);
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(self.values), read)?.collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }

    /// One page, newest `time_column` first, ties by id.
    pub(super) fn page<T>(
        mut self,
        connection: &Connection,
        table: &'static str,
        time_column: &'static str,
        page: &PageRequest,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> DbResult<Page<T>> {
        if let Some(cursor) = &page.cursor {
            self.values.push(cursor.at.into());
            self.values.push(cursor.id.clone().into());
            let last = self.values.len();
            self.sql.push_str(&format!(" AND ({time_column}, id) < (?{}, ?{last})", last - 1));
        }
        let limit = page.limit.clamp(1, MAX_PAGE) as usize;
        // One more than asked for tells whether there is a next page.
        self.values.push((limit as i64 + 1).into());
        let sql = format!(
            "SELECT * FROM {table} WHERE {} ORDER BY {time_column} DESC, id DESC LIMIT ?{}",
            self.sql,
            self.values.len()
        );
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(self.values.iter().map(|value| value as &dyn ToSql)))?;
        let (mut items, mut last, mut next) = (Vec::new(), None, None);
        while let Some(row) = rows.next()? {
            if items.len() == limit {
                next = last;
                break;
            }
            items.push(read(row)?);
            last = Some(Cursor { at: row.get(time_column)?, id: row.get("id")? });
        }
        Ok(Page { items, next })
    }
}
