//! What the detectors promise.

mod agent_loop;
mod quiet;
