//! `tripline forensics`: graphs of traces and incidents, as JSON or Mermaid. Writes nothing.

use tripline_agent::actions::Destinations;
use tripline_agent::forensics::{Forensics, Graph, mermaid};

use crate::app::{Home, Reader};
use crate::args::ForensicsCommand;
use crate::failure::Failure;
use crate::terminal;

pub(crate) async fn run(command: ForensicsCommand, home: &Home) -> Result<(), Failure> {
    let now = match &command {
        ForensicsCommand::Trace { now, .. }
        | ForensicsCommand::Incident { now, .. }
        | ForensicsCommand::WorstTraces { now, .. } => *now,
    };
    let reader = Reader::open(home, now).await?;
    let repository = Destinations::from_environment(&home.environment).code_repository().cloned();
    let forensics = Forensics::new(reader.context.clone(), reader.queries()?, repository);
    match command {
        ForensicsCommand::Trace { id, mermaid, .. } => {
            print(&forensics.trace(&id).await.map_err(Failure::display)?, mermaid)
        }
        ForensicsCommand::Incident { start, end, mermaid, .. } => {
            print(&forensics.incident(start, end).await.map_err(Failure::display)?, mermaid)
        }
        ForensicsCommand::WorstTraces { limit, .. } => {
            let worst = forensics.worst_traces(usize::from(limit)).await.map_err(Failure::display)?;
            terminal::line(&serde_json::to_string_pretty(&worst).map_err(Failure::display)?);
            Ok(())
        }
    }
}

fn print(graph: &Graph, as_mermaid: bool) -> Result<(), Failure> {
    if as_mermaid {
        terminal::line(mermaid::flowchart(graph).trim_end());
    } else {
        terminal::line(&serde_json::to_string_pretty(graph).map_err(Failure::display)?);
    }
    if graph.complete {
        return Ok(());
    }
    let gaps: Vec<String> = graph.gaps.iter().map(|gap| format!("{}: {}", gap.source, gap.reason)).collect();
    Err(Failure::incomplete(&gaps))
}
