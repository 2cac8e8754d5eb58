//! A simulator to try by hand: `cargo run -p tripline-simulator --example simulate -- [SCENARIO|DIR]`.

use std::path::Path;

use tripline_simulator::{Content, Scenario, SimulatorOptions, start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let what = std::env::args().nth(1).unwrap_or_else(|| "all".to_owned());
    let content = if Path::new(&what).is_dir() {
        Content::DataDir(what.into())
    } else {
        Content::Scenarios(Scenario::set(&what)?)
    };
    let options = SimulatorOptions { listen: ([127, 0, 0, 1], 4000).into(), content, ..SimulatorOptions::default() };
    let simulator = start(options).await?;
    announce(&simulator.base_url());
    tokio::signal::ctrl_c().await?;
    simulator.shutdown().await;
    Ok(())
}

#[allow(clippy::print_stdout, reason = "an example talks to its terminal")]
fn announce(url: &str) {
    println!("listening on {url}; ctrl-c stops it");
}
