//! One file per command.

pub(crate) mod audit;
mod backtest;
pub(crate) mod bench;
pub(crate) mod bench_narratives;
pub(crate) mod demo;
pub(crate) mod detectors;
pub(crate) mod digest;
pub(crate) mod doctor;
pub(crate) mod forensics;
pub(crate) mod ingest;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod pr_risk;
pub(crate) mod projects;
pub(crate) mod sampling;
pub(crate) mod seed;
pub(crate) mod serve;
pub(crate) mod session;
pub(crate) mod simulate;
pub(crate) mod sources;
pub(crate) mod sql;
pub(crate) mod sync;
