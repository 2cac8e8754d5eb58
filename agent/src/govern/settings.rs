//! Governance settings.

use serde::{Deserialize, Serialize};

/// Policy, approvers, expiry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub struct GovernanceSettings {}
