//! Ids of sessions and of their events: UUIDs, whoever made them, always written the same way.

use crate::{Result, StoreError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! uuid_ids {
    ($($(#[$doc:meta])* $name:ident ($field:literal);)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as text: lower case, with dashes.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Takes what this crate made or stored.
            pub(crate) fn of_stored(id: String) -> Self {
                Self(id)
            }
        }

        impl FromStr for $name {
            type Err = StoreError;

            /// Reads a UUID in any of its usual forms.
            fn from_str(text: &str) -> Result<Self> {
                let uuid = Uuid::try_parse(text.trim())
                    .map_err(|_| StoreError::invalid($field, "is no UUID"))?;
                Ok(Self(uuid.hyphenated().to_string()))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
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

uuid_ids! {
    /// Id of a session.
    SessionId("session_id");
    /// Id of an event of a session.
    SessionEventId("id");
}

/// The namespace of ids that follow from what they are about.
const DERIVED: Uuid = Uuid::from_u128(0x9d5a_6f0c_2f0b_5d2e_8a41_7c36_1f5e_0b93);

/// The id of a derived row: a UUID version 5 of its unique key, so that deriving it again gives the same id.
pub fn derived_id(table: &str, key: &[&str]) -> String {
    let name = serde_json::json!([table, key]).to_string();
    Uuid::new_v5(&DERIVED, name.as_bytes()).hyphenated().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_written_one_way_however_it_came() {
        let forms = [
            "0199AAAA-0000-7000-8000-000000000001",
            "0199aaaa000070008000000000000001",
            " 0199aaaa-0000-7000-8000-000000000001 ",
        ];
        for form in forms {
            assert_eq!(form.parse::<SessionId>().unwrap().as_str(), "0199aaaa-0000-7000-8000-000000000001");
        }
        let refused = "not-an-id".parse::<SessionId>().unwrap_err().to_string();
        assert_eq!(refused, "session_id: is no UUID");
    }

    #[test]
    fn a_derived_id_follows_from_its_key_and_no_two_keys_share_one() {
        assert_eq!(derived_id("insights", &["a", "b"]), derived_id("insights", &["a", "b"]));
        assert_ne!(derived_id("insights", &["a", "b"]), derived_id("insights", &["ab", ""]));
        assert_ne!(derived_id("insights", &["a", "b"]), derived_id("error_clusters", &["a", "b"]));
    }
}
