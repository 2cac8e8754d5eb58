//! What several aggregates share: scope, severity, window, pages, and the macro for enums kept as text.

use super::ProjectId;
use crate::{Result, StoreError};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An enum that is written as text: in the database, in JSON and in SQL answers.
macro_rules! text_enum {
    ($(#[$meta:meta])* $vis:vis enum $name:ident ($field:literal) {
        $($(#[$vmeta:meta])* $variant:ident = $text:literal,)+
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        $vis enum $name {
            $($(#[$vmeta])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value as it is written.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = crate::StoreError;
            fn from_str(text: &str) -> crate::Result<Self> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    let known: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    crate::StoreError::invalid($field, format!("'{text}' is none of {}", known.join(", ")))
                })
            }
        }

        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                Ok(self.as_str().into())
            }
        }

        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                value.as_str()?.parse().map_err(|error| rusqlite::types::FromSqlError::Other(Box::new(error) as _))
            }
        }
    };
}
pub(crate) use text_enum;

/// Whose rows an operation sees and makes.
///
/// Every row belongs to one project; a row of another project is as good as absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    project_id: ProjectId,
}

impl Scope {
    /// The scope of one project.
    pub fn project(project_id: ProjectId) -> Self {
        Self { project_id }
    }

    /// The scope of the project that a fresh installation has.
    pub fn default_project() -> Self {
        Self::project(ProjectId::new(DEFAULT_PROJECT))
    }

    /// The project.
    pub fn project_id(&self) -> &ProjectId {
        &self.project_id
    }
}

/// Id of the project that a fresh installation has.
pub const DEFAULT_PROJECT: &str = "default";

text_enum! {
    /// How bad a finding is. Ordered: `Info < Medium < High < Critical`.
    pub enum Severity ("severity") {
        /// Worth knowing.
        Info = "info",
        /// Look at it today.
        Medium = "medium",
        /// Look at it now.
        High = "high",
        /// Users or money are being lost.
        Critical = "critical",
    }
}

/// A half-open stretch of time `[start, end)`, in UTC, to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Window {
    /// First instant inside.
    pub start: DateTime<Utc>,
    /// First instant after.
    pub end: DateTime<Utc>,
}

impl Window {
    /// A window with `start < end`.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the end is not after the start.
    pub fn new(start: DateTime<Utc>, end: DateTime<Utc>) -> Result<Self> {
        if start < end {
            Ok(Self { start, end })
        } else {
            Err(StoreError::invalid("window", format!("its end {end} is not after its start {start}")))
        }
    }

    /// How long it is.
    pub fn duration(&self) -> TimeDelta {
        self.end - self.start
    }

    /// The smallest window that holds both.
    pub fn union(&self, other: &Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// Most items one page holds; a larger limit is cut to this.
pub const MAX_PAGE: u32 = 1_000;

/// Which part of a listing is wanted. Listings are newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most, 1 to [`MAX_PAGE`].
    pub limit: u32,
    /// Where the previous page ended; `None` for the first page.
    pub cursor: Option<Cursor>,
}

impl PageRequest {
    /// The first page.
    pub fn first(limit: u32) -> Self {
        Self { limit, cursor: None }
    }

    /// The page after a cursor.
    pub fn after(limit: u32, cursor: Cursor) -> Self {
        Self { limit, cursor: Some(cursor) }
    }
}

impl Default for PageRequest {
    /// The first 50.
    fn default() -> Self {
        Self::first(50)
    }
}

/// One page of a listing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Where the next page begins; `None` when this was the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Cursor>,
}

/// A place in a newest-first listing. Opaque text to clients (`Display`, `FromStr`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Time of the last item seen, microseconds since 1970.
    pub(crate) at: i64,
    /// Id of the last item seen.
    pub(crate) id: String,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.at, self.id)
    }
}

impl FromStr for Cursor {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self> {
        let malformed = || StoreError::invalid("cursor", "not a cursor that a listing returned");
        let (at, id) = text.split_once('~').ok_or_else(malformed)?;
        Ok(Self { at: at.parse().map_err(|_| malformed())?, id: id.to_owned() })
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn severities_are_ordered_and_read_back() {
        assert!(Severity::Info < Severity::Medium && Severity::High < Severity::Critical);
        for severity in Severity::ALL {
            assert_eq!(severity.as_str().parse::<Severity>().unwrap(), *severity);
        }
        let error = "urgent".parse::<Severity>().unwrap_err().to_string();
        assert_eq!(error, "severity: 'urgent' is none of info, medium, high, critical");
    }

    #[test]
    fn an_empty_window_is_refused() {
        let at = DateTime::UNIX_EPOCH;
        assert!(Window::new(at, at).is_err());
        assert!(Window::new(at, at + TimeDelta::microseconds(1)).is_ok());
    }

    #[test]
    fn a_cursor_reads_back_and_a_made_up_one_is_refused() {
        let cursor = Cursor { at: -5, id: "a~b".to_owned() };
        assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
        assert!("yesterday".parse::<Cursor>().is_err());
        assert!("x~y".parse::<Cursor>().is_err());
    }
}
