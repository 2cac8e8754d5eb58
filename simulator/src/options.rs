//! What to simulate and how: the options of [`start`](crate::start).

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::auth::Auth;
use crate::faults::FaultSpec;
use crate::langfuse::LangfuseGeneration;
use crate::scenario::{DEFAULT_SEED, Scenario};
use crate::slack::DEFAULT_SCOPES;

/// What the vendors hold.
#[derive(Debug, Clone, Default)]
pub enum Content {
    /// Nothing but what is written to them.
    #[default]
    Empty,
    /// Accounts in which nothing has happened yet: projects, channels and people, as a seeder finds them.
    Accounts,
    /// One history with these scenarios; see [`Scenario::set`] for names.
    Scenarios(Vec<Scenario>),
    /// The files of a data directory; see [`Dataset::load`](crate::Dataset::load).
    DataDir(PathBuf),
}

/// Options of a simulator.
#[derive(Debug, Clone)]
pub struct SimulatorOptions {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What the vendors hold.
    pub content: Content,
    /// The end of a scenario's history; [`default_anchor`](crate::default_anchor) when absent.
    pub anchor: Option<DateTime<Utc>>,
    /// Seed of a scenario's chance.
    pub seed: u64,
    /// The time to start at: nothing later is visible, and it stands still until it is set again.
    /// When absent, everything is visible and new records carry the system's time.
    pub clock: Option<DateTime<Utc>>,
    /// Delay of every vendor answer.
    pub latency: Duration,
    /// Faults in force from the start.
    pub faults: Vec<FaultSpec>,
    /// Which generation of Langfuse to be.
    pub langfuse: LangfuseGeneration,
    /// Which credentials are accepted.
    pub auth: Auth,
    /// Scopes of the Slack token.
    pub slack_scopes: Vec<String>,
}

impl Default for SimulatorOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            content: Content::Empty,
            anchor: None,
            seed: DEFAULT_SEED,
            clock: None,
            latency: Duration::ZERO,
            faults: Vec::new(),
            langfuse: LangfuseGeneration::default(),
            auth: Auth::default(),
            slack_scopes: DEFAULT_SCOPES.map(str::to_owned).to_vec(),
        }
    }
}
