//! Logs and traces.
//!
//! Owns: the tracing subscriber. `serve` logs JSON lines on standard error; other commands log warnings as text.
//! Spans are exported over OTLP/HTTP when `OTEL_EXPORTER_OTLP_ENDPOINT` is set. Must hold: it is set up before the
//! async runtime starts, because the exporter's client is a blocking one on a thread of its own.

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};
use tripline_engine::Environment;

/// Flushes spans when dropped.
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // Nobody is left to be told.
            let _ = provider.shutdown();
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogStyle {
    /// JSON lines, from `info` up.
    Json,
    /// Text, from `warn` up.
    Text,
    /// Only errors, as text.
    Quiet,
}

/// Installs the subscriber. `TRIPLINE_LOG` overrides the filter (`info`, `tripline_agent=debug`, …).
pub(crate) fn init(environment: &Environment, style: LogStyle) -> Result<Telemetry, String> {
    let default = match style {
        LogStyle::Json => "info,datafusion=warn,hyper=warn,reqwest=warn",
        LogStyle::Text => "warn",
        LogStyle::Quiet => "error",
    };
    let filter = environment.get("TRIPLINE_LOG").unwrap_or(default);
    let filter = EnvFilter::try_new(filter).map_err(|error| format!("TRIPLINE_LOG={filter}: {error}"))?;
    let writer = std::io::stderr;
    let lines = match style {
        LogStyle::Json => tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
        LogStyle::Text | LogStyle::Quiet => {
            tracing_subscriber::fmt::layer().compact().without_time().with_target(false).with_writer(writer).boxed()
        }
    };
    let provider = match environment.get("OTEL_EXPORTER_OTLP_ENDPOINT") {
        Some(endpoint) => Some(exporter(endpoint, environment)?),
        None => None,
    };
    let spans = provider.as_ref().map(|provider| {
        let filter = EnvFilter::new("info,datafusion=off,hyper=off,reqwest=off,h2=off");
        tracing_opentelemetry::layer().with_tracer(provider.tracer("tripline")).with_filter(filter)
    });
    tracing_subscriber::registry()
        .with(spans)
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|error| error.to_string())?;
    Ok(Telemetry { provider })
}

fn exporter(endpoint: &str, environment: &Environment) -> Result<SdkTracerProvider, String> {
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(&url)
        .build()
        .map_err(|error| format!("OTEL_EXPORTER_OTLP_ENDPOINT={endpoint}: {error}"))?;
    let service = environment.get("OTEL_SERVICE_NAME").unwrap_or("tripline").to_owned();
    let resource = Resource::builder().with_service_name(service).build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}
