//! A server on a bundled history, at a moment when one incident has just been found.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tripline_simulator::{Scenario, default_anchor};

use crate::harness::{Serve, Site, Vendors};

/// Everything at that moment.
pub(crate) struct Scene {
    pub(crate) vendors: Vendors,
    pub(crate) site: Site,
    pub(crate) now: DateTime<Utc>,
}

/// A cascade of errors, one hour old. Its remedy is a GitHub issue.
pub(crate) async fn cascade() -> Scene {
    scene(Scenario::ErrorCascade, TimeDelta::minutes(30)).await
}

/// A cost spike, an hour and a quarter old. Its remedy is a GitHub issue.
pub(crate) async fn spike() -> Scene {
    scene(Scenario::CostSpike, TimeDelta::hours(3)).await
}

/// A loop of 24 generations. Its remedy is to be stopped, which is done without asking.
pub(crate) async fn agent_loop() -> Scene {
    scene(Scenario::AgentLoop, TimeDelta::hours(5)).await
}

async fn scene(scenario: Scenario, before_the_end: TimeDelta) -> Scene {
    // A minute after a tick of the schedule: every detector has a window that just ended.
    let now = default_anchor() - before_the_end + TimeDelta::minutes(1);
    let vendors = Vendors::with(&[scenario], now).await;
    let site = Site::over(&vendors);
    Scene { vendors, site, now }
}

impl Scene {
    /// The server, and the approval that waits in Slack.
    pub(crate) async fn asked(&self, kind: &str) -> (Serve, Value) {
        let serve = self.site.serve(self.now).await;
        let approval = serve.pending(kind).await;
        (serve, approval)
    }

    /// A server on the same home, some minutes later: leases of a dead process have run out.
    pub(crate) async fn again(&self, minutes: i64) -> Serve {
        let later = self.now + TimeDelta::minutes(minutes);
        self.vendors.set_clock(later).await;
        self.site.serve(later).await
    }
}
