//! Promises of the door.

mod decoding;
mod requests;
mod sdk;
