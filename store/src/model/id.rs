//! Ids: text, one type per aggregate, so that an approval's id cannot be passed for an action's.
//!
//! Ids made by the store are UUID version 7: they sort by the time they were made at.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! text_ids {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Takes an id as text. Whether such a row exists is for the store to say.
            pub fn new(id: impl Into<String>) -> Self {
                Self(id.into())
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl rusqlite::ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<rusqlite::types::ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }

        impl rusqlite::types::FromSql for $name {
            fn column_result(value: rusqlite::types::ValueRef<'_>) -> rusqlite::types::FromSqlResult<Self> {
                String::column_result(value).map(Self)
            }
        }
    )+};
}

text_ids! {
    /// Id of a project. Chosen by a person: `a-z 0-9 - _`, at most 64 characters.
    ProjectId;
    /// Id of an anomaly.
    AnomalyId;
    /// Id of an incident.
    IncidentId;
    /// Id of an approval.
    ApprovalId;
    /// Id of an action in the outbox.
    ActionId;
    /// Id of one run of a job.
    JobRunId;
    /// Id of an API key. Not secret.
    ApiKeyId;
}
