//! `tripline doctor`: everything that is configured, one line each, with what to do about what is not.

use std::sync::Arc;

use tripline_agent::actions::{DestinationCheck, Destinations, probe};
use tripline_agent::runs::{RunDetectorSpec, check};
use tripline_agent::settings::SettingsLoader;
use tripline_connectors::SourceStatus;
use tripline_engine::check_syntax;
use tripline_store::{OpenMode, StoreError};

use crate::app::{Home, Reader, clock};
use crate::args::DoctorArgs;
use crate::failure::Failure;
use crate::terminal;

/// What is found to be wrong, so far.
#[derive(Default)]
struct Findings {
    broken: usize,
}

impl Findings {
    fn good(&self, what: &str, detail: &str) {
        terminal::line(&format!("ok       {what}: {detail}"));
    }

    /// Not configured: a part of the product is switched off.
    fn off(&self, what: &str, detail: &str) {
        terminal::line(&format!("off      {what}: {detail}"));
    }

    fn bad(&mut self, what: &str, detail: &str, hint: Option<&str>) {
        self.broken += 1;
        terminal::line(&format!("problem  {what}: {detail}"));
        if let Some(hint) = hint {
            terminal::line(&format!("         → {hint}"));
        }
    }
}

pub(crate) async fn run(args: DoctorArgs, home: &Home) -> Result<(), Failure> {
    let mut found = Findings::default();
    terminal::line(&format!("home     {}", home.path.display()));
    state(home, &mut found).await;

    let settings = SettingsLoader::new(Some(&home.path), home.environment.clone()).load();
    match &settings {
        Ok(_) => found.good("settings", "valid"),
        Err(error) => found.bad("settings", &error.to_string(), Some("mend settings.json or the variable")),
    }
    match tripline_agent::queries::QueryLibrary::open(Some(&home.path)) {
        Ok(library) => {
            let status = library.status();
            for error in &status.errors {
                found.bad("query file", error, None);
            }
            let queries = library.current();
            let detectors = queries.detectors.values().map(|detector| &detector.header);
            let baselines = queries.baselines.values().map(|baseline| &baseline.header);
            let evidence = queries.evidence.values().map(|evidence| &evidence.header);
            for header in detectors.chain(baselines).chain(evidence) {
                if let Some(error) = header.steps.iter().find_map(|step| check_syntax(&step.sql).err()) {
                    found.bad("query file", &format!("{}: {error}", header.origin), None);
                }
            }
            let own: Vec<_> = queries.runs.values().filter(|spec| spec.is_file()).collect();
            if !own.is_empty() {
                run_detectors(home, &own, &mut found).await;
            }
            let count = queries.detectors.len() + queries.runs.len();
            found.good("detectors", &format!("{count}, {} query files of your own", status.overridden.len()));
        }
        Err(error) => found.bad("query files", &error.to_string(), None),
    }

    let connectors = home.connectors(&clock(None));
    for problem in connectors.problems() {
        found.bad("source file", &problem.to_string(), Some("tripline sources lint FILE"));
    }
    for source in connectors.sources() {
        match source.status() {
            SourceStatus::Missing { variables, .. } => {
                found.off(&format!("source {}", source.name()), &format!("set {}", variables.join(", ")));
            }
            SourceStatus::Configured if args.offline => {
                found.good(&format!("source {}", source.name()), &format!("configured, {}", source.base_url()));
            }
            SourceStatus::Configured => match source.test().await {
                Ok(took) => {
                    let detail = format!("answers in {} ms, {}", took.as_millis(), source.base_url());
                    found.good(&format!("source {}", source.name()), &detail);
                }
                Err(error) => found.bad(&format!("source {}", source.name()), &error.to_string(), None),
            },
        }
    }

    let is_configured =
        |name| connectors.source(name).is_some_and(|source| matches!(source.status(), SourceStatus::Configured));
    if let Ok(settings) = &settings
        && is_configured("langfuse")
        && !settings.sync.contains_key("langfuse.observations")
    {
        let hint = "without one each detector lists the calls of its window anew at every run; add \"sync\": \
                    {\"langfuse.observations\": {\"window\": \"9d\"}, \"langfuse.scores\": {\"window\": \"9d\"}} to settings.json \
                    (docs/copies.md)";
        found.off("local copy of langfuse.observations", hint);
    }

    let destinations = Destinations::from_environment(&home.environment);
    let mut checks: Vec<DestinationCheck> = destinations.checks();
    if let (false, Ok(settings)) = (args.offline, &settings) {
        checks.extend(probe(&destinations, &settings.governance).await);
    }
    if let Ok(settings) = &settings
        && settings.governance.public_base().is_none()
    {
        found.off("Slack Request URL", "set TRIPLINE_PUBLIC_URL to where Slack reaches Tripline, to have it checked");
    }
    for check in checks {
        match check.ok {
            true => found.good(check.name, &check.detail),
            false => found.bad(check.name, &check.detail, check.hint),
        }
    }
    if let Ok(settings) = &settings {
        match settings.governance.approvers.len() {
            0 => found.bad(
                "approvers",
                "nobody may approve",
                Some("list Slack user ids and key names under governance.approvers in settings.json"),
            ),
            count => found.good("approvers", &format!("{count}")),
        }
    }
    if found.broken == 0 { Ok(()) } else { Err(Failure::new(format!("{} problems", found.broken))) }
}

/// Plans the run detectors of the installation's own, as the judge does.
async fn run_detectors(home: &Home, own: &[&Arc<RunDetectorSpec>], found: &mut Findings) {
    let reader = match Reader::open(home, None).await {
        Ok(reader) => reader,
        Err(error) => {
            return found.bad("run detectors", &format!("not checked: {error}"), Some("mend what is said above first"));
        }
    };
    let ctx = &reader.context;
    for spec in own {
        if let Err(error) = check(&ctx.engine, spec, &ctx.settings.get(), ctx.clock.now()).await {
            found.bad("run detector", &error.to_string(), None);
        }
    }
    let failures = match ctx.store.runs.detector_failures(&ctx.scope).await {
        Ok(failures) => failures,
        Err(error) => return found.bad("run detectors", &error.to_string(), None),
    };
    for failure in failures.iter().filter(|failure| failure.live) {
        let (name, since) = (&failure.detector, failure.failed_since.format("%F %R"));
        let detail =
            format!("{name} fails since {since}, {} runs not judged by it: {}", failure.runs_not_judged, failure.error);
        let hint = format!("mend the file, or take '{name}' out of runs.live");
        found.bad("run detector", &detail, Some(&hint));
    }
}

async fn state(home: &Home, found: &mut Findings) {
    let path = home.database();
    let opened = tokio::task::spawn_blocking(move || tripline_store::SqliteStore::open(path, OpenMode::ReadOnly)).await;
    match opened {
        Ok(Ok(_)) => found.good("state", "readable"),
        Ok(Err(StoreError::NoDatabase { .. })) => found.good("state", "none yet; `tripline serve` makes it"),
        Ok(Err(error)) => found.bad("state", &error.report().replace('\n', " "), None),
        Err(error) => found.bad("state", &error.to_string(), None),
    }
    match home.shelf() {
        Ok(shelf) => found.good("sealed events", &shelf.place()),
        Err(error) => found.bad("sealed events", &error.to_string(), Some("docs/ingest.md says where events may lie")),
    }
}
