//! Tripline's SQL engine: sessions, the scan contract, pushdown, planner rules and result surfaces.
//!
//! Owns: everything about a query between its text and its rows. Does not own: vendors (connectors), persistence
//! (store), or what is asked and why (agent).
//!
//! Must hold: SQL is read-only and its values are bound; a scan that fails is an error or a stated gap, never an
//! empty table; every predicate is re-evaluated on the rows, whatever a vendor claims.

pub mod bind;
mod catalog;
pub mod clock;
mod columns;
pub mod constraint;
pub mod context;
pub mod contract;
pub mod copy;
mod dialect;
pub mod env;
pub mod error;
pub mod extract;
mod functions;
pub mod interval;
pub mod output;
pub mod params;
mod plans;
pub mod query;
pub mod report;
pub mod rules;
pub mod scan;
pub mod session;
mod settings;

#[cfg(test)]
mod tests;
mod wildcard;

pub use clock::{Clock, ManualClock, OffsetClock, SharedClock, SystemClock};
pub use constraint::{Bound, ColumnConstraint, Constraints, LikePattern, Predicate};
pub use context::{Moment, QueryContext};
pub use contract::{
    Capabilities, FilterCapability, MissingKey, Operator, PageStream, RemoteTable, RequestPlan, RequiredKey,
    ScanRequest, ScanRun, ScanShape, SortKey,
};
pub use env::Environment;
pub use error::{EngineError, ScanError, ScanErrorKind};
pub use functions::kind_of as json_kind;
pub use output::{OutputFormat, RowWriter, exact_json_rows, json_rows};
pub use params::{Param, Params, parse_duration};
pub use query::{Progress, QueryOptions, QueryResult, QueryStream, check_syntax};
pub use report::{CompletenessReport, ReportBuilder, ScanReport, ScanStats};
pub use session::{Engine, EngineOptions, InputTable, LocalTable, SourceEntry};
pub use settings::Settings;
