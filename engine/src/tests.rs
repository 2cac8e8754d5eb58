//! Promises of the engine over a toy remote table whose pages are counted.

mod bind;
mod budgets;
mod interval;
mod overlap;
mod pushdown;
mod slt;
mod statements;
mod toy;
mod windows;
