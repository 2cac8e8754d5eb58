//! From the bytes of an answer to Arrow columns.
//!
//! Owns: picking the wanted columns and paging values out of a JSON body in one pass, coercing them, and saying where
//! a value was that cannot be. Does not own: what is asked for (`plan`) or how (`http`).
//!
//! Must hold: only wanted paths are built; text, numbers and JSON keep what the vendor wrote; no body makes it panic.

mod builder;
mod included;
mod page;
#[cfg(test)]
mod tests;
mod time;
mod trie;
mod value;
mod walk;

pub(crate) use page::{Constants, DecodeError, Decoded, Decoder, pick_texts};
