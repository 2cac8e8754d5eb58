//! Promises about judging runs.

mod detectors;
mod events;
mod judging;
mod library;
mod vectors;
