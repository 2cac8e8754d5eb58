//! `tripline simulate`: the vendor simulator in the foreground.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tripline_simulator::{Content, LangfuseGeneration, Scenario, SimulatorOptions, start};

use crate::args::{Generation, SimulateArgs};
use crate::failure::Failure;
use crate::terminal;

impl From<Generation> for LangfuseGeneration {
    fn from(generation: Generation) -> Self {
        match generation {
            Generation::V3 => Self::V3,
            Generation::V4 => Self::V4,
        }
    }
}

pub(crate) async fn run(args: SimulateArgs) -> Result<(), Failure> {
    let (content, anchor) = match (&args.scenario, args.data) {
        (Some(name), _) => {
            let scenarios = Scenario::set(name).map_err(|error| Failure::new(error.to_string()))?;
            // A history that ends now is one that a server on the real clock finds incidents in.
            (Content::Scenarios(scenarios), Some(args.anchor.unwrap_or_else(chrono::Utc::now)))
        }
        (None, Some(folder)) => (Content::DataDir(folder), args.anchor),
        (None, None) => (Content::Accounts, args.anchor),
    };
    let options = SimulatorOptions {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, args.port)),
        content,
        anchor,
        clock: args.clock,
        latency: Duration::from_millis(args.latency_ms),
        faults: args.fault,
        langfuse: args.langfuse.into(),
        ..SimulatorOptions::default()
    };
    let simulator = start(options).await.map_err(|error| Failure::new(error.to_string()))?;
    let base = simulator.base_url();
    terminal::line(&format!("simulating the vendors at {base}; Ctrl-C stops"));
    for (variable, path) in [
        ("LANGFUSE_BASE_URL", "langfuse"),
        ("SENTRY_BASE_URL", "sentry"),
        ("GITHUB_API_URL", "github"),
        ("SLACK_API_URL", "slack"),
        ("DATADOG_API_URL", "datadog"),
        ("PAGERDUTY_API_URL", "pagerduty"),
        ("LINEAR_API_URL", "linear"),
        ("OPENAI_BASE_URL", "llm/v1"),
    ] {
        terminal::line(&format!("  export {variable}={base}/{path}"));
    }
    // Without a signal handler there is no way to stop but to be killed, which is fine too.
    let _ = tokio::signal::ctrl_c().await;
    simulator.shutdown().await;
    Ok(())
}
