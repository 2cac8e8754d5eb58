//! A world for tests: vendor tables in memory, an engine over them, a store in a temporary folder.
//!
//! Owns: the columns of the vendor tables as the bundled specs have them (those the queries read), and builders of rows.

mod healthy;
mod incidents;
mod live;
mod world;

pub(crate) use healthy::Healthy;
pub(crate) use live::Live;
pub(crate) use world::{Home, Scene, World, at, minutes};
