//! Arguments of `tripline sampling`.

use chrono::{DateTime, Utc};
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum SamplingCommand {
    /// Judge the traces of the last 24 hours, now.
    Run {
        /// Keep nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// What the present is. Only with --dry-run: what is kept is of the real present.
        #[arg(long, value_name = "TIME", value_parser = super::time, requires = "dry_run")]
        now: Option<DateTime<Utc>>,
    },
    /// Figures of the newest runs.
    Stats {
        /// Runs at most.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// The scores and the threshold in force.
    Policy {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}
