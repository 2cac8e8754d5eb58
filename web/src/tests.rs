//! What the server promises, over real HTTP, with the simulator as Slack and GitHub.

mod access;
mod administer;
mod api;
mod hostile;
mod limits;
mod openapi;
mod otlp;
mod runs;
mod sessions;
pub(crate) mod site;
mod sql;
mod told;
mod workbench;
