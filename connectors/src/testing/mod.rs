//! A toy vendor for tests: counts what it is asked, and can disobey.
//!
//! Served in process (so that time can be paused) or by axum over a real socket.

mod own;
mod toy;
mod world;

pub(crate) use own::Own;
pub(crate) use toy::{Asked, Reply, Toy};
pub(crate) use world::{World, constrain, engine_with, environment, f64s, i64s, noon, request, texts};
