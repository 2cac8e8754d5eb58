//! The `tripline` binary: thin. It reads the command line and the environment, puts the parts together, and prints.

mod app;
mod args;
mod closed;
mod commands;
mod copies;
mod destination;
mod events;
mod failure;
mod server;
mod telemetry;
mod terminal;

use std::process::ExitCode;

use clap::Parser;
use tripline_engine::Environment;

use crate::app::Home;
use crate::args::{BenchCommand, Cli, Command};
use crate::failure::Failure;
use crate::telemetry::LogStyle;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match start(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            terminal::error_line(&failure.to_string());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn start(command: Command) -> Result<(), Failure> {
    let environment = Environment::from_process();
    let style = match &command {
        Command::Serve(_) => LogStyle::Json,
        Command::Demo(_) | Command::Bench(_) => LogStyle::Quiet,
        _ => LogStyle::Text,
    };
    // First of all: the exporter of spans is a client too. Only fails when another part of the process was faster, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let _telemetry = telemetry::init(&environment, style).map_err(Failure::new)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("no threads to run on: {error}")))?;
    runtime.block_on(run(command, environment))
}

async fn run(command: Command, environment: Environment) -> Result<(), Failure> {
    // The demo and the simulator keep nothing: they run without a home.
    let home = || Home::of(environment);
    match command {
        Command::Demo(args) => commands::demo::run(args).await,
        Command::Simulate(args) => commands::simulate::run(args).await,
        Command::Bench(command) => match command {
            BenchCommand::Accuracy(args) => commands::bench::run(args).await,
            BenchCommand::Narratives(args) => commands::bench_narratives::run(args).await,
        },
        Command::Detectors(command) => commands::detectors::run(command, &home()?).await,
        Command::Seed(args) => commands::seed::run(args, &home()?).await,
        Command::Sql(args) => commands::sql::run(args, home()?).await,
        Command::Ingest(args) => commands::ingest::run(args, &home()?).await,
        Command::Sync(args) => commands::sync::run(args, home()?).await,
        Command::Sources(command) => commands::sources::run(command, &home()?).await,
        Command::Keys(command) => commands::keys::run(command, &home()?).await,
        Command::Projects(command) => commands::projects::run(command, &home()?).await,
        Command::Audit(command) => commands::audit::run(command, &home()?).await,
        Command::Session(command) => commands::session::run(command, &home()?).await,
        Command::Serve(args) => commands::serve::run(args, &home()?).await,
        Command::Digest(args) => commands::digest::run(args, &home()?).await,
        Command::Forensics(command) => commands::forensics::run(command, &home()?).await,
        Command::PrRisk(args) => commands::pr_risk::run(args, &home()?).await,
        Command::Sampling(command) => commands::sampling::run(command, &home()?).await,
        Command::Jobs(command) => commands::jobs::run(command, &home()?).await,
        Command::Doctor(args) => commands::doctor::run(args, &home()?).await,
    }
}
