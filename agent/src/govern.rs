//! Governance.

pub mod settings;
