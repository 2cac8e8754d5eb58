//! Governance: what may be done about an incident, who says so, and the record of it.
//!
//! Owns policy, approvals and who may decide them, the Slack webhook's verification, expiry. Does not own effects
//! outside ([`crate::actions`]), what messages say ([`crate::messages`]), or the conditional update that decides a race
//! (store).
//!
//! Must hold
//! - it fails closed: no signing secret, no approver on the list, no attributed trace: nothing is done;
//! - every decision goes through one claim ([`Desk`]), whichever way it came;
//! - whoever asks twice for the same thing gets it once.

mod clicks;
mod desk;
pub mod fixes;
mod gate;
mod house;
pub mod policy;
mod refusals;
pub mod settings;
pub mod signature;
#[cfg(test)]
pub(crate) mod testing;

pub use clicks::{Click, ClickAnswer, ClickCounts, Clicks, ClicksParts};
pub use desk::{Decided, Desk, Request};
pub use fixes::{FixError, FixOutcome, FixRequest, Fixes};
pub use gate::{Gate, GateParts};
pub use house::Governance;
pub use refusals::RefusalLog;

pub use crate::respond::{GovernError, Governor};
