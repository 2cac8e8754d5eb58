//! The declarative source format: one YAML file per source, parsed once into types that cannot be wrong.
//!
//! Owns: the format, its parser and its error messages (file, line, column, what is allowed). Does not own: what is
//! sent for a query (`plan`), how it is sent (`http`), how answers become rows (`decode`).
//!
//! Must hold: every problem of a file is reported, not only the first; no text makes the parser panic; whatever is
//! returned needs no further checks. The format is described in `docs/connectors.md`.

mod body;
mod column;
mod endpoint;
mod filter;
mod node;
mod path;
mod schema;
mod search;
mod source;
mod table;
mod template;
#[cfg(test)]
mod tests;

pub use body::{BodyTemplate, Graphql, JsonKind};
pub use column::{Column, ColumnKind, Lookup, Origin, TimeFormat};
pub use endpoint::{Aggregate, Cap, Endpoint, FieldGroups, Function, Included, PageSize, Pagination, VendorOrder};
pub use filter::{ConditionSlot, Conditions, Edge, Equal, Filter, ListStyle, Target, TimeStyle, Token};
pub use node::{At, SpecErrors, SpecProblem};
pub use path::{JsonPath, Segment};
pub use schema::json_schema;
pub use search::{Find, Search, Verb};
pub use source::{Auth, BaseUrl, BodyErrors, Input, Limits, ResetFormat, SecretFile, Slot, SourceSpec, TestRequest};
pub(crate) use source::{is_address, source_name_problem};
pub use table::{Parent, TableSpec};
pub use template::{Part, Template};

/// Parses the text of a spec file; `file` is how errors name it.
///
/// # Errors
/// Everything that is wrong with it.
pub fn parse(file: &str, text: &str) -> Result<SourceSpec, SpecErrors> {
    let mut problems = node::Problems::default();
    let root = node::parse(text, &mut problems);
    let spec = root.as_ref().and_then(|root| source::read(root, file, &mut problems));
    match spec {
        Some(spec) if problems.is_empty() => Ok(spec),
        _ => {
            if problems.is_empty() {
                problems.add(At::default(), "the file holds no source");
            }
            Err(problems.into_errors(file))
        }
    }
}
